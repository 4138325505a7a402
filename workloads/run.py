"""One run on one phone: opened, measured on, put back, and what is recorded of all that."""

from __future__ import annotations

import os
import re
import resource
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from base.errors import (
    EXIT_FAILED,
    EXIT_INTERNAL,
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
    CapabilityMissing,
    DeviceLost,
    EnvironmentRefused,
    LabError,
    RestoreFailed,
    StorageFailed,
    worst,
)  # fmt: skip
from base.output import tell
from base.signals import shield
from devices.android.writers import Silenced, stop_writers
from devices.capability import FOUND_BY_TRYING
from devices.device import Device
from devices.phone import Phone, Target, open_phone
from devices.profiles.profile import Profile
from devices.virtual.host_time import host_watch
from records.model import Caveat, End, Provenance, RunResult, Session, TestOutcome, Turn
from records.writing import Record, RunFolder
from workloads.compressors import Compressor, compressors
from workloads.noise import NoiseWatch, noise_facts
from workloads.provenance import governor, provenance
from workloads.stage import Stage, set_stage

# What keeps a test from showing anything, whatever it tests.
INFRASTRUCTURE = (DeviceLost, EnvironmentRefused, RestoreFailed, StorageFailed)


class Progress(Protocol):
    """Shows how far a run is. Nothing that it does raises."""

    def say(self, text: str) -> None:
        """Show a line that stays."""
        ...

    def total(self, steps: int) -> None:
        """Take note of how many steps there will be."""
        ...

    def test(self, title: str) -> None:
        """Take note that a test begins."""
        ...

    def step(self, what: str) -> None:
        """Begin the next step."""
        ...

    def close(self) -> None:
        """Show nothing any more."""
        ...


class OpenPhone(Protocol):
    """Opens the phone that a target names, for a scope at whose end it is put back."""

    def __call__(self, target: Target, *, run_id: str, say: Callable[[str], None]) -> AbstractContextManager[Phone]:
        """Raises LabError."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for: which phone, how much, with which seed, and where the results go."""

    target: Target
    plan: str
    seed: int
    requested: Sequence[str]
    results: Path
    earlier: Path | None = None
    """in a dry run, whose own results nobody keeps, where those of earlier runs are"""
    command: str = ""
    """the command line as it was typed"""


@dataclass(slots=True)
class LabRun:
    """One run on one phone, from the open phone to the last record."""

    wanted: Wanted
    phone: Phone
    folder: RunFolder
    stack: ExitStack
    progress: Progress
    began_s: float
    stage: Stage = field(init=False)
    provenance: Provenance = field(init=False)
    lost: str = ""
    kernel_log: str = ""
    kernel_noted: list[str] = field(default_factory=list)
    answer: int = 0
    """exit status of what was found, where nothing went wrong: 1 that one of two sides is worse"""
    failed: bool = False
    """whether a test showed a failure of what it tests"""
    faults: list[int] = field(default_factory=list)
    """exit statuses of what else went wrong"""
    facts: dict[str, object] = field(default_factory=dict)
    turns: dict[float, Turn] = field(default_factory=dict)
    """all turns by their time; records of one block of faults have them in common"""

    @property
    def device(self) -> Device:
        return self.phone.device

    @property
    def profile(self) -> Profile:
        return self.phone.profile

    @property
    def seed(self) -> int:
        return self.wanted.seed

    def compressors(self) -> list[Compressor]:
        wanted, offered = self.profile.compressors.algorithms, self.provenance.zram["algorithms"]
        has_both = self.stage.zram.compressed_writeback() is not None
        return compressors(offered if wanted == "auto" else wanted, has_compressed_writeback=has_both)

    def record(self, result: RunResult) -> None:
        """Store one point; raises StorageFailed."""
        self.turns |= {turn.t_s: turn for turn in result.turns}
        self.folder.append(result)

    def noise_watch(self) -> NoiseWatch:
        """Return what tells of each turn whether it was disturbed."""
        virtual = self.phone.virtual
        watch = host_watch(virtual.pid, virtual.qmp) if virtual else None
        return NoiseWatch(self.provenance.cpus, watch.now if watch else None)

    def keep_kernel_log(self, log: str) -> None:
        """Store the phone's kernel log so far; raises StorageFailed."""
        self.folder.keep("kernel.log", log)

    def note(self, outcome: TestOutcome, error: BaseException | None) -> str:
        """Record how a test ended; returns why the run cannot go on, or nothing."""
        if isinstance(error, DeviceLost) and not self.lost:
            self.lost = self.phone.why_lost() or str(error)
        if isinstance(error, INFRASTRUCTURE):
            self.faults.append(error.exit_status)
        elif outcome.outcome in ("failed", "error"):
            self.failed = True
        if self._stored(outcome) and not isinstance(error, StorageFailed):
            return f"phone lost: {self.lost}" if self.lost else ""
        return "results cannot be stored"

    def fault(self, error: BaseException, fact: str) -> None:
        """Take note of, and tell, what went wrong outside of the tests."""
        if isinstance(error, DeviceLost) and not self.lost:
            self.lost = self.phone.why_lost() or str(error)
        self.faults.append(_status_of(error))
        self.facts[fact] = str(error)
        tell(f"{type(error).__name__}: {error.for_people() if isinstance(error, LabError) else error}")

    def finish(self, status: int) -> int:
        """Put the phone back, then write the last record; returns the exit status, which is also the recorded one.

        ``status`` is pytest's. What is wrong with this computer's disk is told after the phone was put back.
        """
        self.progress.close()
        began_s = time.monotonic()
        try:
            self.stack.close()
        except Exception as error:  # noqa: BLE001 whatever it is, it is recorded and told
            self.fault(error, "restore_failed")
        if self.lost:
            self.facts["lost"] = self.lost
        if problem := self.phone.transcript.problem:
            self.facts["transcript_problem"] = problem
            tell(problem)
        self.facts["noise"] = noise_facts(self.turns.values())
        wire = self.device.transport.wire
        if wire.doubted:
            self.facts |= {"phone_clock_doubted": wire.doubted, "phone_clock_doubt": wire.doubt}
        if self.kernel_noted:
            self.facts["kernel_noted"] = Counter(re.sub(r"^\W*[\d.]+\W*", "", line) for line in self.kernel_noted)
        status = self._status(status)
        self.facts |= self.phone.clock.facts()
        self.facts |= {"round_trips": wire.trips, "restore_s": time.monotonic() - began_s}
        if (written := self.phone.guard.written_bytes) is not None:
            self.facts["disk_written_bytes"] = written
        used = resource.getrusage(resource.RUSAGE_SELF)
        self.facts["host_cpu_s"] = used.ru_utime + used.ru_stime
        end = End(status, datetime.now(UTC).isoformat(), self._wall_time_s(), self.facts)
        return status if self._stored(end) else self._status(status)

    def begin(self) -> None:
        """Set the phone up for measuring; the session is recorded whether that works or not."""
        caveats: list[Caveat] = []
        stage = None
        try:
            changes = self.stack.enter_context(self.device.changes())
            silenced = stop_writers(changes)
            caveats += _unstopped(silenced, self.progress)
            stage = set_stage(changes, self.profile)
            self.stage = stage
            self.provenance = provenance(self.phone, stage)
            self.facts["governor"] = governor(self.device)
        except BaseException:
            self._stored(self._session(provenance(self.phone, None), caveats))
            raise
        self.folder.append(self._session(self.provenance, caveats))

    def given_up(self, error: BaseException) -> int:
        """End a run that could not begin; returns its exit status."""
        if isinstance(error, DeviceLost):
            self.lost = self.phone.why_lost() or str(error)
        self.facts["not_begun"] = str(error) or type(error).__name__
        return self.finish(_refusal(error))

    def _session(self, facts: Provenance, caveats: Sequence[Caveat]) -> Session:
        doubts = [*facts.caveats, *caveats]
        if self.device.transport.clock_missing:
            doubts.append(Caveat.phone_clock_missing)
        now = datetime.now(UTC).isoformat()
        wanted = self.wanted
        return Session(
            self.folder.run_id, now, wanted.plan, self.seed, list(wanted.requested), facts, doubts, wanted.command
        )

    def _stored(self, record: Record) -> bool:
        try:
            self.folder.append(record)
        except LabError as error:
            if error.exit_status not in self.faults:
                tell(error.for_people())
            self.faults.append(error.exit_status)
            return False
        return True

    def _status(self, status: int) -> int:
        """A test that could not show anything has not failed: then only what kept it from that counts."""
        only_faults = status == EXIT_FAILED and self.faults and not self.failed
        return worst(self.faults if only_faults else [*self.faults, status]) or self.answer

    def _wall_time_s(self) -> Mapping[str, float]:
        wire = self.device.transport.wire
        total, boot, image = time.monotonic() - self.began_s, self.phone.boot_s, self.phone.image_build_s
        on_wire = wire.total_s - wire.on_phone_s
        host = total - wire.on_phone_s - on_wire - image - boot
        return {
            "total": total, "phone": wire.on_phone_s, "wire": on_wire, "host": host, "boot": boot, "image_build": image,
        }  # fmt: skip


def open_run(wanted: Wanted, progress: Progress, opening: OpenPhone = open_phone) -> LabRun:
    """Open the phone, make the run's folder and set the phone up; ``opening`` is how a target becomes a phone.

    Raises LabError, with the exit status of the run, after the phone was put back; a run that got as far as its folder
    has a session and an end in it.
    """
    began_s = time.monotonic()
    run: LabRun | None = None
    stack = ExitStack()
    try:
        phone = stack.enter_context(opening(wanted.target, run_id=_run_id(), say=progress.say))
        _check_promises(phone)
        folder = RunFolder.create(wanted.results, wanted.target.name, datetime.now(UTC))
        run = LabRun(wanted, phone, folder, stack, progress, began_s)
        phone.transcript.write_to(folder.path / "transcript.log")
        if wanted.earlier is None:
            progress.say(f"results: {folder.path}")
        run.begin()
    except BaseException as error:
        shield()
        progress.close()
        status = run.given_up(error) if run else _closed(stack, error)
        if isinstance(error, KeyboardInterrupt):
            raise
        raise _told_as(error, status) from error
    return run


def _run_id() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}"


def _check_promises(phone: Phone) -> None:
    known = phone.device.capabilities | FOUND_BY_TRYING
    missing = sorted(set(map(str, phone.profile.must_have)) - set(map(str, known)))
    if missing:
        raise CapabilityMissing(
            f"{phone.device.serial}: profile {phone.profile.name} promises {', '.join(missing)}, "
            "the phone does not have it",
            hint="correct must_have in the profile, or boot a kernel that has it",
        )


def _unstopped(silenced: Silenced, progress: Progress) -> list[Caveat]:
    if not silenced.unstopped:
        return []
    names = ", ".join(silenced.unstopped)
    progress.say(f"these write zram pages back when they please, and cannot be stopped: {names}")
    return [Caveat.unstopped_writer]


def _closed(stack: ExitStack, error: BaseException) -> int:
    """Undo what opening the phone did so far; the exit status of both errors."""
    statuses = [_refusal(error)]
    try:
        stack.close()
    except Exception as other:  # noqa: BLE001 it is told beside the first one
        tell(f"{type(other).__name__}: {other}")
        statuses.append(_status_of(other))
    return worst(statuses)


def _told_as(error: BaseException, status: int) -> LabError:
    """The error in words, with the exit status of the whole run."""
    if isinstance(error, LabError):
        told = LabError(str(error), hint=error.hint)
    else:
        told = LabError(f"internal error while the phone was opened: {type(error).__name__}: {error}")
    told.exit_status = status
    return told


def _refusal(error: BaseException) -> int:
    """Before the first test no test can have failed: a phone that says no is not fit for a run."""
    status = _status_of(error)
    return EXIT_REFUSED if status == EXIT_FAILED else status


def _status_of(error: BaseException) -> int:
    if isinstance(error, LabError):
        return error.exit_status
    if isinstance(error, OSError):
        return StorageFailed.exit_status
    return EXIT_INTERRUPTED if isinstance(error, KeyboardInterrupt) else EXIT_INTERNAL
