"""How long one read of a file of zram's waits while a writeback runs, against the same while none does, in rounds.

Since 7.0 zram's files wait for a running writeback. Who watches a phone by them waits as long as the writeback that he
meets still takes. So every writeback has the same number of pages, and reads begin at any moment of it (the probe's
command ``reads``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from base.units import KIB
from devices.profiles.sections import PageKind
from records import metrics as m
from records import tests as t
from records.model import RunResult
from workloads.bench import Bench
from workloads.budget import RoundsPlan
from workloads.faults import RECORD, SAMPLES_FILE, swap_out
from workloads.rounds import Rounds, measure_in_rounds
from workloads.stage import Stage
from workloads.timed_writeback import NothingMeasured, write_attribute
from workloads.turns import Samples, median_of

# `idle` can only be written. That looks at every slot while a writeback waits: it is timed apart from the others.
FILES = ("mm_stat", "bd_stat", "backing_dev", "idle")
_TIMED_TOGETHER = (("mm_stat", "bd_stat", "backing_dev"), ("idle",))
_WRITTEN = {"idle": "all"}
# Of one writeback: two of the kernel's own batches, in pages of 4 KiB. More would wear storage and tell no more.
CALL_BYTES = 256 * KIB
# Writebacks of a turn; in each of them about one read of each file begins.
_CALLS = 6
_FIRST_PAUSE_US, _LONGEST_PAUSE_US = 1_000, 1_000_000
_AREA, _DURING = "reads", 1
_MOST_TRIES, _NEXT_TRY = 4, 0x9E37
_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class ReadCondition:
    """A writeback at ``batch_size`` runs meanwhile, or nothing does (``running`` False: quiet)."""

    running: bool
    batch_size: int | None = None

    def __str__(self) -> str:
        return f"batch-{self.batch_size or 1}" if self.running else "quiet"


@dataclass(frozen=True, slots=True)
class ReadTurn:
    """One turn: how long reads of each of ``FILES`` took in ns (of idle, writes), and one writeback on the average.

    That is 0 where none ran. ``written`` and ``expected`` are the pages written back, by bd_stat and by what was asked
    for.
    """

    waits: Sequence[Samples]
    writeback_ns: float
    written: int
    expected: int

    @property
    def all_waits(self) -> Samples:
        """The reads of all files."""
        return np.concatenate(self.waits)


@dataclass(slots=True)
class ReadsDuring:
    """All turns of all conditions, filled on the way; the quiet one comes first."""

    conditions: Sequence[ReadCondition] = ()
    rounds: Rounds[ReadCondition, ReadTurn] = field(default_factory=Rounds)

    def waits(self, condition: ReadCondition, file: str) -> list[Samples]:
        """Return how long reads of a file took in ns, turn by turn."""
        return [turn.waits[FILES.index(file)] for turn in self.rounds.values(condition)]


def steps_of(stage: Stage) -> int:
    """Return how many steps ``measure_reads_during_writeback`` reports at least."""
    return RoundsPlan().fewest * len(_conditions(stage))


def measure_reads_during_writeback(bench: Bench, into: ReadsDuring) -> None:
    """Measure reads while nothing is written and during writebacks at each batch size, in rounds.

    Storage wears, so there are no more than the fewest rounds. Raises NothingMeasured when bd_stat counts other pages
    than were to be written.
    """
    stage = bench.stage
    quiet, *running = into.conditions = _conditions(stage)
    stage.as_swap(2 * _pages(stage))
    turns = _Turns(bench)
    measure_in_rounds(
        bench, into.conditions, turns.turn, plan=bench.rounds.at_most(bench.rounds.fewest), into=into.rounds,
        told=lambda point: f"reads, writeback {point}", primary=lambda turn: median_of(turn.all_waits),
        ratios=[(condition, quiet) for condition in running],
    )  # fmt: skip


def reads_results(bench: Bench, found: ReadsDuring) -> list[RunResult]:
    """Make the records: one for each condition and file."""
    return [
        _result(bench, found, condition, file)
        for condition in found.conditions
        if found.rounds.of(condition)
        for file in FILES
    ]


def _result(bench: Bench, found: ReadsDuring, condition: ReadCondition, file: str) -> RunResult:
    waits, turns = found.waits(condition, file), found.rounds.values(condition)
    written = {"expected": sum(turn.expected for turn in turns), "seen": sum(turn.written for turn in turns)}
    return RunResult(
        test=t.READS.name,
        title=bench.title,
        params={
            "batch_size": condition.batch_size,
            "writeback": "running" if condition.running else "quiet",
            "file": file,
        },
        metrics=m.READ_WAIT.of([median_of(part) / 1e3 for part in waits])
        | m.READ_LONGEST.of([float(part.max()) / 1e3 for part in waits]),
        # All files are read during the same writebacks: one record of each condition has the check.
        checks={"pages written (bd_stat)": written} if condition.running and file == FILES[0] else {},
        caveats=found.rounds.caveats(condition),
        facts={
            "writeback_bytes": CALL_BYTES if condition.running else 0,
            "reads": sum(part.size for part in waits),
            "writeback_ms": round(float(np.median([turn.writeback_ns for turn in turns])) / 1e6, 3),
            **found.rounds.facts(),
        },
        turns=found.rounds.turns(condition),
    )


def _conditions(stage: Stage) -> list[ReadCondition]:
    batch_sizes = stage.batch_sizes(stage.profile.faults.batch_sizes)
    return [ReadCondition(False), *(ReadCondition(True, batch) for batch in batch_sizes)]


def _pages(stage: Stage) -> int:
    return _CALLS * stage.pages(CALL_BYTES)


class _Turns:
    """Measures turns; remembers how long a writeback takes at each condition: so long may the first pause be."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._pause_us: dict[ReadCondition, int] = {}

    def turn(self, condition: ReadCondition, number: int) -> ReadTurn:
        """Measure one turn of a condition."""
        parts = [self._files(condition, number, files) for files in _TIMED_TOGETHER]
        return ReadTurn(
            [waits for part in parts for waits in part.waits], parts[0].writeback_ns,
            sum(part.written for part in parts), sum(part.expected for part in parts),
        )  # fmt: skip

    def _files(self, condition: ReadCondition, number: int, files: Sequence[str]) -> ReadTurn:
        """Time these files: again, and together, as long as there is one without a read."""
        found: list[ReadTurn] = []
        for attempt in range(_MOST_TRIES):
            found.append(self._once(condition, self.bench.seed + number + attempt * _NEXT_TRY, files))
            waits = [np.concatenate(parts) for parts in zip(*(one.waits for one in found), strict=True)]
            if all(part.size for part in waits):
                mean_ns = sum(one.writeback_ns for one in found) / len(found)
                return ReadTurn(waits, mean_ns, sum(one.written for one in found), sum(one.expected for one in found))
        raise NothingMeasured(f"{self.bench.stage.device.serial}: no read of some file began while a writeback ran")

    def _once(self, condition: ReadCondition, seed: int, files: Sequence[str]) -> ReadTurn:
        bench, stage = self.bench, self.bench.stage
        pages = _pages(stage)
        bench.probe.fill_area(_AREA, pages * stage.page_bytes, mix=PageKind.compressible.mix, seed=seed)
        try:
            swap_out(bench, _AREA, pages)
            if condition.batch_size is not None:
                write_attribute(bench, "writeback_batch_size", str(condition.batch_size))
            reply = bench.probe.reads(
                _AREA, zram=stage.zram.number, files=[self._item(name) for name in files], out=SAMPLES_FILE,
                most=100 * _CALLS if condition.running else _CALLS, pause_us=self._pause(condition),
                call_pages=stage.pages(CALL_BYTES), seed=seed, writes=condition.running, seconds=_LIMIT_S,
            )  # fmt: skip
        finally:
            bench.probe.drop(_AREA)
        records = bench.fetch(SAMPLES_FILE, RECORD, reply.samples)
        written = stage.pages_4k(reply.written_4k)
        if written != reply.pages or bool(reply.calls) is not condition.running:
            raise NothingMeasured(
                f"{stage.device.serial}: {reply.pages} pages were to be written back in {reply.calls} calls, bd_stat "
                f"counts {written}",
                hint="another program writes this zram's pages back; stop it and run again",
            )
        writeback_ns = reply.in_calls_ns / max(reply.calls, 1)
        if condition.running:
            self._pause_us[condition] = min(int(writeback_ns / 1000), _LONGEST_PAUSE_US)
        counted = records[records["label"] == (_DURING if condition.running else 0)]
        waits = [counted["ns"][counted["page"] == which].astype(np.uint64) for which in range(len(files))]
        return ReadTurn(waits, writeback_ns, written, reply.pages)

    def _item(self, file: str) -> str:
        path = self.bench.stage.zram.attribute(file)
        return f"{path}={_WRITTEN[file]}" if file in _WRITTEN else path

    def _pause(self, condition: ReadCondition) -> int:
        """Return the longest first pause in us; on a quiet phone that of all pauses, as long as the longest others."""
        if condition.running:
            return self._pause_us.get(condition, _FIRST_PAUSE_US)
        return max(self._pause_us.values(), default=_FIRST_PAUSE_US)
