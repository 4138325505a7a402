"""How a process that has to put something back takes signals."""

from __future__ import annotations

import signal
from types import FrameType


def _ending() -> list[signal.Signals]:
    """The signals that ask a process to end; that of a lost terminal is none of them under ``nohup``."""
    asked = [signal.SIGINT, signal.SIGTERM]
    return asked if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [*asked, signal.SIGHUP]


def interrupt_once() -> None:
    """From here on the first signal raises KeyboardInterrupt; later ones are ignored, as after ``shield``."""
    for number in _ending():
        signal.signal(number, _interrupt)


def shield() -> None:
    """From here on the phone is being put back, which has deadlines: signals wait for nothing, they are ignored."""
    for number in _ending():
        signal.signal(number, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> None:
    shield()
    raise KeyboardInterrupt
