"""How operations get to a phone: the one seam between this project and a device.

An operation is data, so that several travel in one round trip, an undo can be written to disk before the change is
made, and a fake can carry them out with the kernel's rules.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from base.deadline import Deadline
from base.errors import CommandFailed
from base.units import shown


@dataclass(frozen=True, slots=True)
class Read:
    """Read a small text file. ``CommandResult.missing`` tells "not there" from "could not be read"."""

    path: str

    def __str__(self) -> str:
        return f"cat {shlex.quote(self.path)}"


@dataclass(frozen=True, slots=True)
class Write:
    """Write ``value`` to a file with one write(2), without a newline, as sysfs wants it."""

    path: str
    value: str

    def __str__(self) -> str:
        return f"echo {shlex.quote(self.value)} > {shlex.quote(self.path)}"


@dataclass(frozen=True, slots=True)
class Exec:
    """Run a program. ``accept`` lists the exit statuses that are fine (an undo may find its work done)."""

    argv: tuple[str, ...]
    accept: tuple[int, ...] = (0,)

    def __str__(self) -> str:
        return shlex.join(self.argv)


Op = Read | Write | Exec
# In which the phone's uptime is told.
_CLOCK_STEP_S = 0.011
# In journals on disk.
_TAGS: dict[type[Op], str] = {Read: "read", Write: "write", Exec: "run"}


def op_to_json(op: Op) -> dict[str, Any]:
    return {"op": _TAGS[type(op)], **asdict(op)}


def op_from_json(data: object) -> Op:
    """Raises ValueError for what ``op_to_json`` does not write."""
    match data:
        case {"op": "read", "path": str(path)}:
            return Read(path)
        case {"op": "write", "path": str(path), "value": str(value)}:
            return Write(path, value)
        case {"op": "run", "argv": list(argv), "accept": list(accept)} if argv:
            if all(isinstance(word, str) for word in argv) and all(isinstance(status, int) for status in accept):
                return Exec(tuple(argv), tuple(accept))
    raise ValueError(f"unknown operation {shown(data)}")


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What the phone answered: exit status, both streams apart, and whether a Read's file exists at all.

    ``skipped`` operations stood behind one that failed and were not carried out.
    """

    op: Op
    status: int
    stdout: str
    stderr: str
    missing: bool = False
    skipped: bool = False

    @property
    def ok(self) -> bool:
        accepted = self.op.accept if isinstance(self.op, Exec) else (0,)
        return not self.skipped and not self.missing and self.status in accepted

    @property
    def text(self) -> str:
        """Standard output without the trailing newline."""
        return self.stdout.rstrip("\n")

    def check(self) -> CommandResult:
        """Self, or CommandFailed."""
        if not self.ok:
            stderr = self.stderr or ("no such file" if self.missing else "")
            raise CommandFailed(str(self.op), self.status, stderr)
        return self


class Process(Protocol):
    """A program that keeps running on the phone while its stdin is open."""

    def request(self, line: str, *, deadline: Deadline) -> str:
        """Send one line, return the one line that answers it. DeviceLost when the program or the phone is gone."""
        ...

    def close(self) -> None:
        """Close stdin (the program ends itself) and forget the connection; never raises."""
        ...


@dataclass(slots=True)
class WireTime:
    """Where the time of a transport's calls went, in seconds; ``trips`` counts round trips.

    ``on_phone_s`` is what the phone's own clock says its commands took, ``total_s`` what the host waited. No command
    can take longer on the phone than on the host that waits for it, nor less than nothing: what a phone's clock says
    against that counts as unknown, ``doubted`` such answers were met, and ``doubt`` is the worst of them.
    """

    trips: int = 0
    total_s: float = 0.0
    on_phone_s: float = 0.0
    doubted: int = 0
    doubt: str = ""
    _worst_s: float = 0.0

    def add(self, waited_s: float, on_phone_s: float | None = None) -> None:
        """Count a round trip; ``on_phone_s`` is None where the phone did not time it."""
        self.trips += 1
        self.total_s += waited_s
        if on_phone_s is not None:
            self.add_on_phone(on_phone_s, waited_s=waited_s)

    def add_on_phone(self, on_phone_s: float, *, waited_s: float) -> None:
        """Count time at the phone in a trip that is counted already."""
        beyond_s = max(on_phone_s - waited_s, -on_phone_s)
        if beyond_s <= _CLOCK_STEP_S:
            self.on_phone_s += min(max(on_phone_s, 0.0), waited_s)
            return
        self.doubted += 1
        if beyond_s > self._worst_s:
            self._worst_s = beyond_s
            self.doubt = f"{on_phone_s:.3f} s by the phone's clock in a trip that took {waited_s:.3f} s"


class Transport(Protocol):
    """A connection to one phone. Every call has a total deadline.

    Raises DeviceLost (or its DeviceTimeout) when the answer did not come back whole. A command that the phone ran and
    refused is not an exception here but an CommandResult.
    """

    serial: str
    wire: WireTime
    lives_in: str
    """empty for a phone that every process of the host can reach; a fake one is in its process alone"""
    clock_missing: bool
    """whether the phone's shell could not time itself in any call so far: its time counts as the wire's"""

    @property
    def root(self) -> str:
        """How commands become root's."""
        ...

    def execute(self, ops: Sequence[Op], *, deadline: Deadline, keep_going: bool = False) -> list[CommandResult]:
        """Carry out the operations in order, in one round trip; stop at the first failure unless ``keep_going``."""
        ...

    def start(self, argv: Sequence[str], *, deadline: Deadline) -> Process:
        """Start a long-lived program that answers lines."""
        ...

    def push(self, local: Path, remote: str, *, mode: int = 0o644, deadline: Deadline) -> None: ...

    def pull(self, remote: str, local: Path, *, deadline: Deadline, remove: bool = False) -> None:
        """Fetch a file, and with ``remove`` take it off the phone in the same round trip."""
        ...

    def close(self) -> None: ...
