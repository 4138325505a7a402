"""The way back, on disk before the change is made.

One file per phone in the host's state folder, one JSON line per entry, synced before the call returns. Another process
can replay it after SIGKILL, a pulled cable or a power cut. An undo is judged by what can be read back afterwards, not
by the statuses of its steps: what was never done, or is undone already, may fail to be undone.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from base.deadline import Deadline
from base.errors import DeviceLost, DeviceTimeout, LabError, RestoreFailed
from base.files import append_line, read_lines
from devices.transport import CommandResult, Exec, Op, Read, Transport, op_from_json, op_to_json


class ExpectRule(StrEnum):
    """How a value that was read back is compared."""

    equal = "equal"
    selected = "selected"  # the word in [brackets] of a list
    contains = "contains"
    lacks = "lacks"
    missing = "missing"  # the file is not there
    at_least = "at_least"


@dataclass(frozen=True, slots=True)
class Expect:
    """What must be read from ``path``, or printed by ``argv`` where no file has it, when the undo is done."""

    path: str = ""
    value: str = ""
    match: ExpectRule = ExpectRule.equal
    argv: tuple[str, ...] = ()

    @property
    def op(self) -> Op:
        return Exec(self.argv) if self.argv else Read(self.path)

    def failure(self, result: CommandResult) -> str:
        """Empty if fulfilled, else what was seen instead."""
        where = self.path or shlex.join(self.argv)
        if self.match is ExpectRule.missing:
            return "" if result.missing else f"{where} is still there"
        if not result.ok:
            fulfilled = self.match is ExpectRule.lacks and result.missing
            return "" if fulfilled else f"{where} cannot be read: {result.stderr.strip() or 'no such file'}"
        text = result.text.strip()
        fulfilled = {
            ExpectRule.equal: text == self.value,
            ExpectRule.selected: f"[{self.value}]" in text.split() or text == self.value,
            ExpectRule.contains: self.value in text,
            ExpectRule.lacks: self.value not in text,
            ExpectRule.at_least: text.isdigit() and int(text) >= int(self.value or 0),
        }[self.match]
        return "" if fulfilled else f"{where}: {text[:120]!r}, expected {self.match} {self.value!r}"


@dataclass(frozen=True, slots=True)
class Undo:
    """Absolute, repeatable steps back, and what must be true after them.

    An undo that does not survive a reboot (sysfs) is void when the phone has another boot id.
    """

    what: str
    steps: tuple[Op, ...]
    expect: tuple[Expect, ...] = ()
    survives_reboot: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "steps": [op_to_json(step) for step in self.steps],
            "expect": [asdict(expect) for expect in self.expect],
            "survives_reboot": self.survives_reboot,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Undo:
        return cls(
            what=data["what"],
            steps=tuple(op_from_json(step) for step in data["steps"]),
            expect=tuple(
                Expect(e["path"], e["value"], ExpectRule(e["match"]), tuple(e.get("argv", ()))) for e in data["expect"]
            ),
            survives_reboot=data["survives_reboot"],
        )


@dataclass(slots=True)
class Entry:
    number: int
    boot_id: str
    undo: Undo


@dataclass(slots=True)
class Journal:
    """The undos of one phone that are still to be done, oldest first.

    ``damage`` names the lines that cannot be read although later ones can: what they would undo is unknown, so the
    file is kept whatever else is undone.
    """

    path: Path
    entries: list[Entry] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    _next: int = 0

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Read what an earlier run left; a torn last line is a change that was never begun."""
        journal = cls(path)
        try:
            lines = read_lines(path)
        except FileNotFoundError:
            return journal
        except OSError as error:
            raise RestoreFailed(
                f"{path}: the journal cannot be read: {error.strerror or error}", hint=_DAMAGE_HINT.format(path)
            ) from error
        for line in lines:
            if not journal._take(line.record) and not line.last:
                journal.damage.append(f"{path}:{line.number}")
        return journal

    @property
    def pending(self) -> bool:
        """Whether anything is left to be undone, as far as is known."""
        return bool(self.entries or self.damage)

    def _take(self, record: Mapping[str, Any] | None) -> bool:
        """Whether the record is one that this project writes."""
        match record:
            case {"done": int(number), **rest} if not rest:
                self.entries = [entry for entry in self.entries if entry.number != number]
            case {"number": int(number), "boot_id": str(boot_id), "undo": dict(data)}:
                try:
                    self.entries.append(Entry(number, boot_id, Undo.from_json(data)))
                except (KeyError, TypeError, ValueError):
                    return False
                self._next = max(self._next, number + 1)
            case _:
                return False
        return True

    def record(self, undo: Undo, *, boot_id: str) -> Entry:
        """Write the way back; when this returns it is on disk."""
        entry = Entry(self._next, boot_id, undo)
        self._append({"number": entry.number, "boot_id": boot_id, "undo": undo.to_json()})
        self.entries.append(entry)
        self._next += 1
        return entry

    def done(self, entry: Entry) -> None:
        """Cross an entry out; the file goes with the last one."""
        self._append({"done": entry.number})
        self.entries.remove(entry)
        if not self.pending:
            self.path.unlink(missing_ok=True)

    def _append(self, record: Mapping[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        append_line(self.path, json.dumps(record).encode(), mode=0o600)

    def rollback(
        self, transport: Transport, *, boot_id: str, keep: int = 0, last: Sequence[Op] = (), step_s: float = 120
    ) -> list[str]:
        """Undo everything but the ``keep`` oldest entries, newest first; returns what was undone.

        One undo that fails, or whose shell dies, does not keep the others from being tried. Raises RestoreFailed that
        names each mismatch and each damaged line, with those entries kept in the journal; DeviceLost when the phone is
        gone. ``last`` is done before the only entry that is left is crossed out: a cable that is pulled then leaves a
        journal that is replayed.
        """
        undone, failures = [], [f"{where} cannot be read, and what it would undo is unknown" for where in self.damage]
        for entry in reversed(self.entries[keep:]):
            if entry.boot_id == boot_id or entry.undo.survives_reboot:
                mismatches = _tried(entry.undo, transport, Deadline.after(step_s))
                if mismatches:
                    failures.append(f"{entry.undo.what}: {'; '.join(mismatches)}")
                    continue
                undone.append(entry.undo.what)
            if len(self.entries) == 1:
                transport.execute(last, deadline=Deadline.after(step_s))
            self.done(entry)
        if failures:
            hint = "`./lab restore` tries again; a reboot clears zram and loop. The journal is {}"
            raise RestoreFailed(
                f"{transport.serial} is not as it was: {' | '.join(failures)}",
                hint=(_DAMAGE_HINT if self.damage else hint).format(self.path),
            )
        return undone


_DAMAGE_HINT = "reboot the phone, which clears zram and loop, look through {} for files to remove, then delete it"


def _tried(undo: Undo, transport: Transport, deadline: Deadline) -> Sequence[str]:
    """Why the undo did not work, or nothing. Raises DeviceLost when the phone is gone, but not when it is slow."""
    try:
        return _undo(undo, transport, deadline)
    except DeviceTimeout as error:
        return [str(error)]
    except DeviceLost:
        raise
    except LabError as error:
        return [str(error)]


def _undo(undo: Undo, transport: Transport, deadline: Deadline) -> Sequence[str]:
    reads = [expect.op for expect in undo.expect]
    results = transport.execute([*undo.steps, *reads], deadline=deadline, keep_going=True)
    seen = results[len(undo.steps) :]
    mismatches = [text for expect, result in zip(undo.expect, seen, strict=True) if (text := expect.failure(result))]
    if mismatches:
        steps = results[: len(undo.steps)]
        mismatches += [f"{r.op} said {r.stderr.strip()!r}" for r in steps if not r.ok and r.stderr.strip()]
    return mismatches
