"""The one tree of errors that this project raises on purpose.

Split by who must act::

    LabError
    ├── ProfileError          the user's YAML or options are wrong (exit status 4)
    ├── ReportError           what was asked for is not a readable run (exit status 4)
    ├── PatchRefused          the user's patch does not apply or does not compile (exit status 4)
    ├── StorageFailed         this computer's disk is full or refuses to write (exit status 11)
    ├── EnvironmentRefused    host or phone is not fit for a run; nothing was changed (exit status 11)
    │   └── CapabilityMissing a profile promises what the phone does not have
    ├── DeviceError           talking to a phone
    │   ├── CommandFailed     the phone said no: it ran the command, which exited non-zero
    │   │   └── ZramError and its kinds (devices/zram.py) give the kernel's errno a meaning
    │   ├── UnreadableAnswer  what the phone says cannot be what it means (exit status 11)
    │   └── DeviceLost        the phone is gone: the answer never came
    │       └── DeviceTimeout ... within the total deadline
    └── RestoreFailed         the phone is not as it was; the journal is kept (exit status 13)

The message says what happened and where; the advice, what to do next, is ``hint``.
"""

from __future__ import annotations

from collections.abc import Iterable

from base.text import clean

EXIT_FAILED = 1
EXIT_INTERRUPTED = 2
EXIT_INTERNAL = 3
EXIT_USAGE = 4
EXIT_NOTHING_SELECTED = 5
EXIT_DEVICE_LOST = 10
EXIT_REFUSED = 11
EXIT_NO_BASELINE = 12
EXIT_RESTORE_FAILED = 13

_WORST_FIRST = (
    EXIT_RESTORE_FAILED, EXIT_DEVICE_LOST, EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_FAILED, EXIT_REFUSED, EXIT_USAGE,
    EXIT_NO_BASELINE, EXIT_NOTHING_SELECTED,
)  # fmt: skip


def worst(statuses: Iterable[int]) -> int:
    """The exit status of several phones or runs together: the one that most needs somebody to act.

    A phone that is not as it was goes before one that is gone, and both before a test that failed. One that was killed
    (a negative status) has put nothing back.
    """
    found = [status if status >= 0 else EXIT_RESTORE_FAILED for status in statuses if status]
    unknown = [status for status in found if status not in _WORST_FIRST]
    return next((status for status in _WORST_FIRST if status in found), unknown[0] if unknown else 0)


class LabError(Exception):
    """An error with a cause for people (``str``), a next step (``hint``) and an exit status.

    Both are fit for a terminal, whatever a phone said that they quote.
    """

    exit_status = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(clean(message))
        self.hint = clean(hint)

    def for_people(self) -> str:
        """Message and hint as they are printed on a terminal."""
        return f"{self}\n  -> {self.hint}" if self.hint else str(self)


class ProfileError(LabError):
    """A profile or an option is wrong; all of a file's errors at once, one line each."""

    exit_status = EXIT_USAGE


class ReportError(LabError):
    """Results cannot be read, or may not be compared."""

    exit_status = EXIT_USAGE


class PatchRefused(LabError):
    """A patch is not one of zram's driver, does not apply, or does not compile; with the tool's own words."""

    exit_status = EXIT_USAGE


class StorageFailed(LabError):
    """A result could not be written; everything recorded before it is still readable."""

    exit_status = EXIT_REFUSED


class EnvironmentRefused(LabError):
    """The host or the phone is not fit for a run; nothing was changed."""

    exit_status = EXIT_REFUSED


class CapabilityMissing(EnvironmentRefused):
    """A profile's ``must_have`` promises what the phone does not have."""


class DeviceError(LabError):
    """Talking to a phone failed."""


class CommandFailed(DeviceError):
    """The phone ran the command and said no."""

    def __init__(self, command: str, status: int, stderr: str, *, hint: str = "") -> None:
        super().__init__(f"{command}: exit status {status}: {stderr.strip() or 'no message'}", hint=hint)
        self.command, self.status, self.stderr = command, status, stderr


class UnreadableAnswer(DeviceError):
    """The phone, or a program on it, answers what no such thing answers."""

    exit_status = EXIT_REFUSED


class DeviceLost(DeviceError):
    """The phone is gone: the connection ended before the answer was complete."""

    exit_status = EXIT_DEVICE_LOST


class DeviceTimeout(DeviceLost):
    """The phone did not answer within the total deadline."""


class RestoreFailed(LabError):
    """The phone could not be put back as it was; its journal is kept."""

    exit_status = EXIT_RESTORE_FAILED
