"""What a night did, line by line, and what follows from it: the log is all that a resumed night knows.

Each line is synced before what it announces is done. The file is ``night.jsonl`` in the night's folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from base.errors import (
    EXIT_DEVICE_LOST,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_NOTHING_SELECTED,
    EXIT_RESTORE_FAILED,
    EXIT_USAGE,
    ReportError,
    StorageFailed,
)
from base.files import append_line, read_lines
from base.locks import try_lock

NIGHTS, LOG = "nights", "night.jsonl"
NIGHT_SCHEMA = 1


class Kind(StrEnum):
    """What one attempt at a phone showed: about what is tested, or about the lab."""

    passed = "passed"
    failed = "failed"
    infra = "infra"
    stopped = "stopped"
    wrong = "wrong"
    not_restored = "not_restored"


class PhoneEnd(StrEnum):
    """How the night ended for a phone."""

    passed = "passed"
    flaky = "flaky"
    failed = "failed"
    not_restored = "not_restored"
    wrong = "wrong"
    lost = "lost"
    refused = "refused"
    quarantined = "quarantined"
    cut = "cut"


MEASURED = (PhoneEnd.passed, PhoneEnd.flaky, PhoneEnd.failed)


def kind_of(status: int) -> Kind:
    """What an exit status of a run shows; a process that was killed failed for the lab's sake."""
    known = {
        0: Kind.passed, EXIT_FAILED: Kind.failed, EXIT_INTERRUPTED: Kind.stopped, EXIT_USAGE: Kind.wrong,
        EXIT_NOTHING_SELECTED: Kind.wrong, EXIT_RESTORE_FAILED: Kind.not_restored,
    }  # fmt: skip
    return known.get(status, Kind.infra)


@dataclass(slots=True)
class Attempt:
    """One try at a phone: a look at it that it did not pass (``plan`` is empty), or a run in ``folder``.

    ``folder`` and ``run`` are relative to the night's folder; ``status`` is None while it goes on. One that was ended
    with its night does not count once the night is taken up again.
    """

    number: int
    plan: str
    folder: str
    began: str
    status: int | None = None
    seconds: float = 0.0
    run: str = ""
    reason: str = ""
    ended: str = ""
    counts: bool = True

    @property
    def kind(self) -> Kind | None:
        """What it showed; None while it goes on."""
        return None if self.status is None else kind_of(self.status)


@dataclass(slots=True)
class PhoneNight:
    """One phone in one night. ``elsewhere`` is the run of another night at the same time that measured it, if any.

    ``stands_in_for`` is the picked phone that the lab failed with, where this one was not picked itself.
    """

    serial: str
    stands_in_for: str = ""
    attempts: list[Attempt] = field(default_factory=list)
    skipped: PhoneEnd | None = None
    reason: str = ""
    elsewhere: str = ""
    elsewhere_status: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def tries(self, kind: Kind) -> int:
        """How many attempts that count showed this."""
        return sum(each.kind is kind and each.counts for each in self.attempts)

    def again(self, infra: int, product: int) -> bool:
        """Whether it is to be tried once more, with so many retries."""
        last = self.attempts[-1] if self.attempts else None
        if self.skipped or self.elsewhere:
            return False
        if last is None or last.kind is None or not last.counts:
            return True
        if last.kind is Kind.infra:
            return self.tries(Kind.infra) <= infra
        return last.kind is Kind.failed and self.tries(Kind.failed) <= product

    @property
    def run(self) -> str:
        """The run that counts: the last one that measured; else the last that has a folder; else nothing."""
        if self.elsewhere:
            return self.elsewhere
        measured = [each.run for each in self.attempts if each.kind in (Kind.passed, Kind.failed) and each.run]
        return (measured or [each.run for each in self.attempts if each.run] or [""])[-1]

    @property
    def end(self) -> PhoneEnd:
        """How the night ended for it, as far as it has."""
        if self.elsewhere:
            return PhoneEnd.failed if self.elsewhere_status else PhoneEnd.passed
        kinds = [each.kind for each in self.attempts]
        if Kind.not_restored in kinds:
            return PhoneEnd.not_restored
        if Kind.passed in kinds:
            return PhoneEnd.flaky if Kind.failed in kinds else PhoneEnd.passed
        if Kind.failed in kinds:
            return PhoneEnd.failed
        if self.skipped:
            return self.skipped
        last = self.attempts[-1] if self.attempts else None
        if last is None or last.kind in (None, Kind.stopped):
            return PhoneEnd.cut
        if last.kind is Kind.wrong:
            return PhoneEnd.wrong
        was_there = last.status != EXIT_DEVICE_LOST
        return PhoneEnd.refused if was_there else PhoneEnd.lost

    @property
    def why(self) -> str:
        """Why it ended so, in the words of the last attempt or of whatever kept it from being tried."""
        return self.reason or next((each.reason for each in reversed(self.attempts) if each.reason), "")


@dataclass(slots=True)
class NightState:
    """What the lines of a log add up to. ``done`` is the last line of a night that was told to its end.

    ``pid`` is of the process that began it or took it up last.
    """

    planned: Mapping[str, Any]
    phones: dict[str, PhoneNight]
    stopping: str = ""
    done: Mapping[str, Any] | None = None
    pid: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def night(self) -> str:
        """The night's name."""
        return str(self.planned["night"])


class NightLog:
    """A night's folder and its log, held by the one process that writes it."""

    def __init__(self, folder: Path, state: NightState, lock: int) -> None:
        self.folder, self.state, self._lock = folder, state, lock

    @classmethod
    def begin(cls, results: Path, planned: Mapping[str, Any], name: str) -> NightLog:
        """Make the folder of a new night. Raises StorageFailed."""
        try:
            number = 1
            while True:
                folder = results / NIGHTS / (name if number == 1 else f"{name}-{number}")
                folder.parent.mkdir(parents=True, exist_ok=True)
                try:
                    folder.mkdir()
                    break
                except FileExistsError:
                    number += 1
            lock = try_lock(folder / "night.lock")
            assert lock is not None, f"{folder} is new"
            line = {"type": "planned", "schema": NIGHT_SCHEMA, "night": folder.name, "when": now(), **planned}
            append_line(folder / LOG, json.dumps(line).encode())
        except OSError as error:
            raise _unwritable(results / NIGHTS, error) from error
        return cls(folder, read_night(folder), lock)

    @classmethod
    def reopen(cls, folder: Path) -> NightLog | None:
        """Take up a night that is there, or None where another process has it. Raises ReportError, StorageFailed."""
        try:
            lock = try_lock(folder / "night.lock")
        except OSError as error:
            raise _unwritable(folder, error) from error
        return None if lock is None else cls(folder, read_night(folder), lock)

    @property
    def is_new(self) -> bool:
        """Whether nothing has been done in this night yet."""
        return not any(phone.attempts for phone in self.state.phones.values()) and not self.state.notes

    def close(self) -> None:
        """Let go of the night."""
        os.close(self._lock)

    def add(self, kind: str, **facts: Any) -> None:
        """Append one line, and take it into the state. Raises StorageFailed."""
        entry = {"type": kind, "when": now(), **facts}
        try:
            append_line(self.folder / LOG, json.dumps(entry).encode())
        except OSError as error:
            raise _unwritable(self.folder / LOG, error) from error
        _take(self.state, entry)


def read_night(folder: Path) -> NightState:
    """Add up the log of a night. Raises ReportError where there is none or it does not begin as one."""
    path = folder / LOG
    try:
        lines = read_lines(path)
    except OSError as error:
        raise ReportError(
            f"{path}: cannot be read: {error.strerror}", hint="name a folder below results/nights/"
        ) from error
    first = lines[0].record if lines else None
    if not first or first.get("type") != "planned" or not isinstance(first.get("phones"), list):
        raise ReportError(f"{path}:1: not the log of a night", hint="name a folder below results/nights/")
    if first.get("schema") != NIGHT_SCHEMA:
        raise ReportError(f"{path}:1: schema {first.get('schema')!r}; this version reads {NIGHT_SCHEMA}")
    state = NightState(first, {str(serial): PhoneNight(str(serial)) for serial in first["phones"]})
    state.pid = int(first.get("pid") or 0)
    for line in lines[1:]:
        if line.record is None:
            state.notes.append(f"{path}:{line.number}: {'cut off' if line.torn else 'damaged'}: this line is left out")
            continue
        _take(state, line.record)
    return state


def is_running(folder: Path) -> bool:
    """Whether a process has this night now."""
    try:
        lock = try_lock(folder / "night.lock")
    except OSError:
        return False
    if lock is None:
        return True
    os.close(lock)
    return False


def nights_in(results: Path) -> Sequence[Path]:
    """The folders of all nights that have a log, oldest first."""
    return sorted((path.parent for path in (results / NIGHTS).glob(f"*/{LOG}")), key=lambda path: path.name)


def now() -> str:
    """This moment as the log writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _take(state: NightState, entry: Mapping[str, Any]) -> None:
    """Take one line in; a line of a kind that is not known changes nothing."""
    phone = state.phones.get(str(entry.get("phone", "")))
    if phone:
        _take_of_phone(phone, entry)
        return
    match entry.get("type"):
        case "note":
            state.notes.append(entry["text"])
        case "stand_in":
            state.phones[str(entry["by"])] = PhoneNight(str(entry["by"]), str(entry["for"]))
        case "stopping":
            state.stopping = entry["why"]
        case "done":
            state.done = entry
        case "resumed":
            state.stopping, state.done, state.pid = "", None, int(entry["pid"])
            for each in state.phones.values():
                if each.skipped is PhoneEnd.cut:
                    each.skipped, each.reason = None, ""
                for attempt in each.attempts:
                    attempt.counts = attempt.counts and attempt.kind is not Kind.stopped


def _take_of_phone(phone: PhoneNight, entry: Mapping[str, Any]) -> None:
    match entry.get("type"):
        case "started":
            phone.skipped = None
            phone.attempts.append(Attempt(len(phone.attempts) + 1, entry["plan"], entry["folder"], entry["when"]))
        case "ended" if phone.attempts:
            last = phone.attempts[-1]
            last.status, last.seconds, last.ended = int(entry["status"]), float(entry["seconds"]), entry["when"]
            last.run, last.reason, last.counts = entry["run"], entry["reason"], entry.get("counts", True)
        case "unfit":
            attempt = Attempt(len(phone.attempts) + 1, "", "", entry["when"], int(entry["status"]))
            attempt.reason, attempt.ended = entry["reason"], entry["when"]
            phone.attempts.append(attempt)
        case "looked_at":
            phone.facts = entry["facts"]
        case "skipped":
            phone.skipped, phone.reason = PhoneEnd(entry["end"]), entry["reason"]
        case "elsewhere":
            phone.elsewhere, phone.elsewhere_status = entry["run"], int(entry["status"])
        case "note":
            phone.notes.append(entry["text"])


def _unwritable(path: Path, error: OSError) -> StorageFailed:
    return StorageFailed(
        f"{path}: cannot write: {error.strerror or error}",
        hint=f"make room or give write permission (df -h {path.parent}); what was measured so far is kept, and "
        "./lab nightly FARM.yaml --resume takes the night up again",
    )
