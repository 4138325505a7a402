"""Processes that live and end with this one: signals reach them, and their ends are waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, Self

_BORN = str(Path(__file__).with_name("born.py"))
# How long a wait lasts that was given no time: who waits looks at its children again and again.
_LOOK_S = 1.0
# siginfo's si_code of a signal that the kernel sent, as a terminal's Ctrl-C: the whole group has it already.
_SI_KERNEL = 0x80


def run_together(commands: Iterable[Sequence[str]]) -> list[int]:
    """Start all commands at once and wait for all of them; returns their exit statuses (-N: killed by signal N)."""
    with Children() as children:
        started = [children.start(command) for command in commands]
        while any(child.poll() is None for child in started):
            children.wait()
    return [child.returncode for child in started]


class Children:
    """Processes that live and end with this one, for a scope that does not end before they have.

    SIGINT, SIGTERM and SIGHUP go on to every child that still runs, which has its own way to end; then the wait goes
    on, because what a child puts back takes its time. A child whose parent dies gets SIGTERM. In the scope these
    signals are taken by ``wait`` only; an error that leaves it ends the children.
    """

    def __init__(self) -> None:
        self._asking = {signal.SIGINT, signal.SIGTERM}
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
            self._asking.add(signal.SIGHUP)
        self._running: list[subprocess.Popen[bytes]] = []
        self._before: set[signal.Signals | int] = set()
        self._handlers: dict[signal.Signals, Any] = {}
        self._noted: list[signal.Signals] = []

    def __enter__(self) -> Self:
        # Blocked signals wait until they are taken: none is lost between a start and a wait.
        self._before = set(signal.pthread_sigmask(signal.SIG_BLOCK, {*self._asking, signal.SIGCHLD}))
        # Threads of libraries that were there before do not block them: the kernel may give a signal to one of those.
        self._handlers = {number: signal.signal(number, self._note) for number in self._asking}
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is not None:
                self.send(signal.SIGTERM)
            for child in self._running:
                child.wait()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted.append(signal.Signals(number))

    def start(
        self, command: Sequence[str], *, output: BinaryIO | None = None, keep: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:  # fmt: skip
        """Start one; ``output`` takes what it prints, and then it reads nothing. ``keep`` are descriptors it inherits.

        The kernel counts the thread that calls this as the parent: it must be one that stays.
        """
        blocked = ",".join(str(int(number)) for number in sorted(self._before))
        child = subprocess.Popen(
            [sys.executable, "-IS", _BORN, str(os.getpid()), blocked, *command], pass_fds=keep, env=env, stdout=output,
            stdin=subprocess.DEVNULL if output else None, stderr=subprocess.STDOUT if output else None,
        )  # fmt: skip
        self._running = [each for each in self._running if each.poll() is None] + [child]
        return child

    def wait(self, seconds: float | None = None) -> int:
        """Wait until a child ends, a signal comes or the time is over; returns the signal that asks to end, or 0.

        The children have that signal then. Without ``seconds`` it may return for nothing after a while: the end of a
        child goes unheard where another thread took the news of it.
        """
        if self._noted:
            noted = self._noted.pop(0)
            self.send(noted)
            return noted
        sent = signal.sigtimedwait({*self._asking, signal.SIGCHLD}, _LOOK_S if seconds is None else seconds)
        # Stopped and continued after its time was over, CPython's sigtimedwait returns what nobody filled in.
        if sent is None or sent.si_signo not in self._asking:
            return 0
        if sent.si_code != _SI_KERNEL:
            self.send(sent.si_signo)
        return sent.si_signo

    def send(self, number: int) -> None:
        """Send a signal to every child that still runs."""
        for child in self._running:
            if child.poll() is None:
                child.send_signal(number)
