"""The way back, on disk before the change is made.

One file per phone in the host's state folder (journal_files.py), one JSON line per entry, synced before the call
returns. Another process can replay it after SIGKILL, a pulled cable or a power cut. An undo is judged by what can be
read back afterwards, not by the statuses of its steps: what was never done, or is undone already, may fail to be
undone.

A journal is carried out as root, so it is obeyed only where nobody but this user could have written it, and every entry
says which phone it is of.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from base.deadline import Deadline
from base.errors import DeviceLost, DeviceTimeout, LabError, RestoreFailed, StorageFailed, UnreadableAnswer
from base.files import append_line, read_lines
from base.parsing import whole_number
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
            ExpectRule.at_least: self.match is ExpectRule.at_least and self._reached(text),
        }[self.match]
        return "" if fulfilled else f"{where}: {text[:120]!r}, expected {self.match} {self.value!r}"

    def _reached(self, text: str) -> bool:
        try:
            return whole_number(text, self.path) >= whole_number(self.value or "0", self.path)
        except UnreadableAnswer:
            return False

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Expect:
        """Raises ValueError for what this project does not write."""
        match data:
            case {"path": str(path), "value": str(value), "match": str(rule), **rest}:
                argv = rest.get("argv", [])
                if not isinstance(argv, list) or not all(isinstance(word, str) for word in argv):
                    raise ValueError("what is to be read back is not told in words")
                return cls(path, value, ExpectRule(rule), tuple(argv))
        raise ValueError("what is to be read back is not told")


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
        """Raises ValueError for what this project does not write."""
        match data:
            case {"what": str(what), "steps": list(steps), "expect": list(expect), "survives_reboot": bool(survives)}:
                return cls(what, tuple(map(op_from_json, steps)), tuple(map(Expect.from_json, expect)), survives)
        raise ValueError("no undo in it")


@dataclass(frozen=True, slots=True)
class PhoneFacts:
    """Which phone an entry is of: the random id that is kept on it, and how it was reached.

    None of them would do alone: serial numbers repeat, disks are copied, a phone is reached by USB or by network.
    """

    id: str
    serial: str
    serialno: str


@dataclass(slots=True)
class Entry:
    """``phone`` is None in journals of version 0.1.0, which did not say."""

    number: int
    boot_id: str
    undo: Undo
    phone: PhoneFacts | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Entry:
        """Raises ValueError for what this project does not write."""
        match data:
            case {"number": int(number), "boot_id": str(boot_id), "undo": dict(undo), **rest}:
                return cls(number, boot_id, Undo.from_json(undo), _facts(rest.get("phone")))
        raise ValueError("neither an undo nor the end of one")


def _facts(data: object) -> PhoneFacts | None:
    match data:
        case None:
            return None
        case {"id": str(id), "serial": str(serial), "serialno": str(serialno)}:
            return PhoneFacts(id, serial, serialno)
    raise ValueError("the phone is not told")


@dataclass(slots=True)
class Journal:
    """The undos of one phone that are still to be done, oldest first.

    ``damage`` names the lines that cannot be read although later ones can: what they would undo is unknown, so the
    file is kept whatever else is undone.
    """

    path: Path
    phone: PhoneFacts | None = None
    entries: list[Entry] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    _next: int = 0
    _has_file: bool = False

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Read what an earlier run left; a torn last line is a change that was never begun.

        Raises RestoreFailed for a file that cannot be read, or that somebody else could have written.
        """
        journal = cls(path)
        try:
            lines = read_lines(path, private=True)
        except FileNotFoundError:
            return journal
        except OSError as error:
            reason = "it is a link" if error.errno == errno.ELOOP else error.strerror or str(error)
            raise RestoreFailed(
                f"{path}: the journal cannot be obeyed: {reason}", hint=_DISTRUST_HINT.format(path)
            ) from error
        journal._has_file = True
        for line in lines:
            try:
                journal._take(line.record)
            except ValueError as error:
                if not line.torn:
                    journal.damage.append(f"{path}:{line.number} cannot be read ({error})")
        return journal

    @property
    def pending(self) -> bool:
        """Whether anything is left to be undone, as far as is known."""
        return bool(self.entries or self.damage)

    def _take(self, record: dict[str, Any] | None) -> None:
        """Raises ValueError unless the record is one that this project writes."""
        match record:
            case None:
                raise ValueError("no JSON object")
            case {"done": int(number)} if len(record) == 1:
                self.entries = [entry for entry in self.entries if entry.number != number]
            case dict():
                self.entries.append(Entry.from_json(record))
                self._next = max(self._next, self.entries[-1].number + 1)

    def record(self, undo: Undo, *, boot_id: str) -> Entry:
        """Write the way back; when this returns it is on disk. Raises StorageFailed; then nothing may be changed."""
        entry = Entry(self._next, boot_id, undo, self.phone)
        record: dict[str, Any] = {"number": entry.number, "boot_id": boot_id, "undo": undo.to_json()}
        if self.phone:
            record["phone"] = asdict(self.phone)
        try:
            self._append(record)
        except OSError as error:
            raise StorageFailed(
                f"{self.path}: the way back of {undo.what} cannot be written: {error.strerror or error}",
                hint="nothing was changed for it; free some room, or set ZRAM_LAB_STATE to a folder on another disk",
            ) from error
        self.entries.append(entry)
        self._next += 1
        return entry

    def done(self, entry: Entry) -> None:
        """Cross an entry out; the file goes with the last one. Raises OSError."""
        if len(self.entries) > 1 or self.damage:
            self._append({"done": entry.number})
        else:
            self.path.unlink(missing_ok=True)
            self._has_file = False
        self.entries.remove(entry)

    def _append(self, record: Mapping[str, Any]) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._has_file:
            self._claim_file()
        append_line(self.path, json.dumps(record).encode(), mode=0o600)

    def _claim_file(self) -> None:
        """A file that is there is another phone's of the same name; then a number is added to ours."""
        for path in _numbered(self.path):
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            except FileExistsError:
                continue
            self.path, self._has_file = path, True
            return

    def rollback(
        self, transport: Transport, *, boot_id: str, keep: int = 0, last: Sequence[Op] = (), step_s: float = 120
    ) -> list[str]:
        """Undo everything but the ``keep`` oldest entries, newest first; returns what was undone.

        One undo that fails, or whose shell dies, does not keep the others from being tried. Raises RestoreFailed that
        names each mismatch and each damaged line, with those entries kept in the journal; DeviceLost when the phone is
        gone. ``last`` is done before the only entry that is left is crossed out: a cable that is pulled then leaves a
        journal that is replayed.
        """
        undone, failures = [], [f"{where}, and what it would undo is unknown" for where in self.damage]
        for entry in reversed(self.entries[keep:]):
            is_void = entry.boot_id != boot_id and not entry.undo.survives_reboot
            mismatches = [] if is_void else _tried(entry.undo, transport, Deadline.after(step_s))
            if not mismatches and len(self.entries) == 1:
                mismatches = _tried(Undo("the mark on the phone", tuple(last)), transport, Deadline.after(step_s))
            if not mismatches:
                mismatches = self._crossed_out(entry)
            if mismatches:
                failures.append(f"{entry.undo.what}: {'; '.join(mismatches)}")
            elif not is_void:
                undone.append(entry.undo.what)
        if failures:
            hint = "`./lab restore` tries again; a reboot clears zram and loop. The journal is {}"
            raise RestoreFailed(
                f"{transport.serial} is not as it was: {' | '.join(failures)}",
                hint=(_DAMAGE_HINT if self.damage else hint).format(self.path),
            )
        return undone

    def _crossed_out(self, entry: Entry) -> Sequence[str]:
        try:
            self.done(entry)
        except OSError as error:
            return [f"is undone, but that cannot be written to the journal: {error.strerror or error}"]
        return []


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    for number in range(1, 1000):
        yield path.with_name(f"{path.stem}~{number}{path.suffix}")


_DAMAGE_HINT = "reboot the phone, which clears zram and loop, look through {} for files to remove, then delete it"
_DISTRUST_HINT = (
    "it is carried out as root, so nobody else may have written it: look through it; if you trust it make {} a file of "
    "your own that only you may write (chown, chmod 600), else delete it"
)


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
