"""Who holds a place of a coordinator: a name that says which process of which computer, so that the dead can be told.

labgrid knows holders by two free words, host and user. With the same words in two processes, one may release what the
other holds; so each process has words of its own here.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname
from typing import Self

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NAME = re.compile(r"([^/]+)/lab-([0-9a-f]{8})-([0-9]{1,10})-([0-9]{1,20})")
# Of /proc/PID/stat behind the program's name: when the process began, in ticks since the boot.
_START = 19


@dataclass(frozen=True, slots=True)
class PlaceOwner:
    """One process: its computer, that computer's boot, its pid, and when it began in ticks since the boot."""

    host: str
    boot: str
    pid: int
    start: int

    @classmethod
    def this_process(cls) -> Self:
        """Name the process that calls."""
        return cls(gethostname().replace("/", "_"), _boot(), os.getpid(), _start_of(os.getpid()) or 0)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a name; None for one that is not of this project, such as a person's."""
        found = _NAME.fullmatch(text)
        return cls(found[1], found[2], int(found[3]), int(found[4])) if found else None

    @property
    def user(self) -> str:
        """The word that labgrid takes for a user's name."""
        return f"lab-{self.boot}-{self.pid}-{self.start}"

    def __str__(self) -> str:
        return f"{self.host}/{self.user}"

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, of this computer: of another one nobody here can tell whether it lives."""
        return self.host == gethostname().replace("/", "_")

    @property
    def is_dead(self) -> bool:
        """Whether it was of this computer and has ended; in doubt it has not."""
        if not self.is_here:
            return False
        if self.boot != _boot():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            pass
        # The same number may be another process by now.
        start = _start_of(self.pid)
        return start is not None and start != self.start


def _boot() -> str:
    return _BOOT_ID.read_text(encoding="ascii").strip().replace("-", "")[:8]


def _start_of(pid: int) -> int | None:
    """None where it cannot be read: the process may be another user's."""
    try:
        return int(
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[_START]
        )
    except (OSError, ValueError, IndexError):
        return None
