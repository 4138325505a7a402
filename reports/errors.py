"""Errors of results and reports. This package stands alone, so they do not hang on the tree in devices/errors.py.

Split by who must act::

    ReportError            what was asked for is not a readable run (exit status 4)
    └── StorageFailed      this computer's disk is full or refuses to write (exit status 11)
"""

from __future__ import annotations

EXIT_USAGE = 4
EXIT_REFUSED = 11


class ReportError(Exception):
    """Results cannot be read or written; ``str`` is the cause, ``hint`` the next step."""

    exit_status = EXIT_USAGE

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def for_people(self) -> str:
        """Message and hint as they are printed on a terminal."""
        return f"{self}\n  -> {self.hint}" if self.hint else str(self)


class StorageFailed(ReportError):
    """A result could not be written; everything recorded before it is still readable."""

    exit_status = EXIT_REFUSED
