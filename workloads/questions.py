"""What can be asked of two sides that are measured in turn: one class a question, each a turn's worth of measuring.

A question takes its ways of measuring from the tests of the suites: a turn of a side is a turn of a point there.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np

from base.kernel import DEFAULT_BATCH_SIZE
from base.units import NS_PER_MS
from devices.capability import Capability
from devices.probe.commands import DevicePages
from devices.profiles.profile import Trigger
from devices.profiles.sections import PageKind, SlotOrder
from records import metrics as m
from records import tests as t
from records.alternated import PairedFigure
from records.model import RunResult
from workloads.app_model import SwitchCondition, made
from workloads.apps import AppRun, Shared, run_apps
from workloads.bench import Bench
from workloads.faults import READS_CHECK, FaultSamples
from workloads.free_slots import make_free_slots
from workloads.inflight import (
    DISK,
    LOOP,
    MOST_KEPT,
    ORDER,
    DepthCase,
    DepthTurn,
    MeasuredDepth,
    WatchedWriteback,
    depth_metrics,
    open_source,
)
from workloads.pace import Pace
from workloads.races import Meanwhile, RaceCondition, Races, RaceTurn
from workloads.rounds import Rounds
from workloads.sides import FittingRoom, PhoneSide
from workloads.stage import Stage
from workloads.timed_writeback import (
    TimedWriteback,
    fill_and_write_back,
    metrics,
    writeback_caveats,
    written_check,
)
from workloads.turns import Samples, faults_by_turn, measure_share
from workloads.writeback import FIRST_DATA, lasting, most_data

V = TypeVar("V")
SLOTS = ("ram", "written_back")
_QUANTILES = {"p50": 0.5, "p99": 0.99}
# A turn gives a quantile where so many of its samples lie beyond it.
_BEYOND = 2


class Question(ABC, Generic[V]):
    """One question. ``weight`` is its share of the time, ``needs`` what the phone must have.

    ``measures_itself``: it starts the probe itself, and none may run meanwhile. ``of_apps``: what it writes is memory
    of apps.
    """

    name: str
    title: str
    weight: float
    figures: tuple[PairedFigure, ...]
    needs: Capability | None = None
    measures_itself = False
    of_apps = False

    def prepare(
        self, bench: Bench, room: FittingRoom, sides: Sequence[PhoneSide], rounds: Rounds[PhoneSide, V]
    ) -> None:
        """Find out what the turns need; ``rounds`` are those that they will be in."""

    @abstractmethod
    def turn(self, bench: Bench, room: FittingRoom, number: int) -> V:
        """Measure a turn on the bench's stage, which is the side's."""

    @abstractmethod
    def values(self, turn: V) -> Mapping[PairedFigure, float]:
        """Return the figures that a turn has a value of."""

    @abstractmethod
    def results(self, bench: Bench, side: PhoneSide, rounds: Rounds[PhoneSide, V]) -> list[RunResult]:
        """Make the records of a side that has turns."""

    def most_rounds(self, stage: Stage) -> int | None:
        """Return how many rounds the phone's storage may bear; None where they write little."""
        return None


class Throughput(Question[TimedWriteback]):
    """Writeback throughput and its CPU time; the data last half a second on the faster side."""

    name, title, weight = "throughput", "Writeback of two sides in turn", 0.40
    figures = (PairedFigure(m.THROUGHPUT), PairedFigure(m.CPU_ALL))

    def __init__(self, pages: PageKind | None) -> None:
        self._pages = pages
        self._data = 0
        self._half: tuple[int, DevicePages] | None = None

    def prepare(
        self, bench: Bench, room: FittingRoom, sides: Sequence[PhoneSide], rounds: Rounds[PhoneSide, TimedWriteback]
    ) -> None:
        sweep, most = bench.stage.profile.sweep, most_data(bench.stage)
        self._pages = self._pages or sweep.pages[0]
        if isinstance(sizes := sweep.data, tuple):
            self._data = sizes[0]
            return
        first = self._data = min(FIRST_DATA, most)
        wanted = []
        for side in sides:
            bench.progress(f"deciding how much to write back, {side}")
            wanted.append(lasting(self.turn(bench.on(room.wear(side)), room, 0), first))
        self._data, self._half = max(first, min(max(wanted), most)), None

    def turn(self, bench: Bench, room: FittingRoom, number: int) -> TimedWriteback:
        pages, order = self._pages or PageKind.incompressible, bench.stage.profile.sweep.order[0]
        if self._half is None or self._half[0] != room.generation:
            self._half = room.generation, make_free_slots(bench, self._data, pages=pages, order=order).pages
        half = self._half[1]
        run = fill_and_write_back(bench, half, pages=pages, batch_size=batch_of(bench.stage))
        bench.probe.free(half)
        return run

    def values(self, turn: TimedWriteback) -> Mapping[PairedFigure, float]:
        found = metrics([turn])
        return {each: found[each.metric.name].values[0] for each in self.figures if each.metric.name in found}

    def most_rounds(self, stage: Stage) -> int | None:
        # Where the sides need a new zram, its blocks are written twice over before the turn itself.
        whole = stage.backing.size_bytes if stage.profile.sweep.order[0] is SlotOrder.scattered else 0
        return max(1, stage.profile.limits.written_per_run // (2 * max(3 * self._data, self._data + whole, 1)))

    def results(self, bench: Bench, side: PhoneSide, rounds: Rounds[PhoneSide, TimedWriteback]) -> list[RunResult]:
        runs, order = rounds.values(side), bench.stage.profile.sweep.order[0]
        batch = batch_of(bench.stage)
        params = {"side": side.name, "data_bytes": self._data, "pages": str(self._pages), "order": str(order)}
        doubts = writeback_caveats(batch, len(runs), buffered=bench.stage.backing.direct_io is False)
        return [
            RunResult(
                t.AB_WRITEBACK.name,
                self.title,
                params,
                metrics(runs),
                checks=written_check(runs),
                caveats=[*doubts, *rounds.caveats(side)],
                turns=rounds.turns(side),
            )
        ]


class InFlight(Question[DepthTurn]):
    """Mean and most writes in flight, at the lowest layer that is watched."""

    name, title, weight = "depth", "Writes in flight of two sides in turn", 0.10
    figures = (PairedFigure(m.IN_FLIGHT_MEAN),)

    def __init__(self) -> None:
        self._half: tuple[int, DevicePages] | None = None

    def turn(self, bench: Bench, room: FittingRoom, number: int) -> DepthTurn:
        stage, data = bench.stage, bench.stage.profile.inflight.data
        if self._half is None or self._half[0] != room.generation:
            slots = make_free_slots(bench, data, pages=PageKind.incompressible, order=ORDER)
            self._half = room.generation, slots.pages
        # The events of a comparison are not kept: there are as many as turns, and the side is in no file's name.
        found = MeasuredDepth(kept_bytes=MOST_KEPT)
        case = DepthCase(batch_of(stage), PageKind.incompressible, None, None)
        with ExitStack() as stack:
            watched = WatchedWriteback(bench, found, open_source(stack, stage, data), half=self._half[1])
            return watched.watch(bench, case, number)

    def values(self, turn: DepthTurn) -> Mapping[PairedFigure, float]:
        return {self.figures[0]: turn.mean}

    def results(self, bench: Bench, side: PhoneSide, rounds: Rounds[PhoneSide, DepthTurn]) -> list[RunResult]:
        turns, data = rounds.values(side), bench.stage.profile.inflight.data
        layers = [layer for layer in (LOOP, DISK) if all(layer in turn.depths for turn in turns)]
        asked = (m.IN_FLIGHT_MEAN.name, m.IN_FLIGHT_MAX.name)
        return [
            RunResult(
                t.AB_DEPTH.name, self.title, {"side": side.name, "layer": layer, "data_bytes": data},
                {name: found for name, found in depth_metrics(turns, layer).items() if name in asked},
                caveats=rounds.caveats(side), turns=rounds.turns(side),
            )
            for layer in layers
        ]  # fmt: skip


class QuietFault(Question[FaultSamples]):
    """Page faults on a quiet phone: pages in RAM, and pages that were written back."""

    name, title, weight = "fault", "Page faults of two sides in turn", 0.10
    figures = tuple(
        PairedFigure(m.FAULT_LATENCY, f"{slot} {name}") for slot in ("RAM", "storage") for name in _QUANTILES
    )
    needs = Capability.page_index

    def __init__(self, pages: PageKind | None) -> None:
        self._pages = pages or PageKind.compressible

    def turn(self, bench: Bench, room: FittingRoom, number: int) -> FaultSamples:
        found = measure_share(bench, number, content=self._pages)
        if found is None:
            raise RuntimeError("asked of a phone that lacks page_index")
        return found

    def values(self, turn: FaultSamples) -> Mapping[PairedFigure, float]:
        return _quantile_figures(self.figures, (turn.ram_ns, turn.written_back_ns))

    def results(self, bench: Bench, side: PhoneSide, rounds: Rounds[PhoneSide, FaultSamples]) -> list[RunResult]:
        blocks = rounds.values(side)
        read = {"expected": sum(each.written_back_ns.size for each in blocks), "seen": sum(b.bd_reads for b in blocks)}
        by_slot = dict(zip(SLOTS, ([b.ram_ns for b in blocks], [b.written_back_ns for b in blocks]), strict=True))
        return [
            RunResult(
                t.AB_FAULTS.name, self.title, {"side": side.name, "slot": slot, "writeback": "quiet"}, {},
                raw=faults_by_turn(bench, f"ab-fault-{side.name}-{slot}", latencies),
                checks={READS_CHECK: read} if slot == "written_back" else {},
                caveats=rounds.caveats(side), turns=rounds.turns(side),
            )
            for slot, latencies in by_slot.items()
        ]  # fmt: skip


class FaultDuring(Question[RaceTurn]):
    """Page faults while a writeback runs, at the side's batch size."""

    name, title, weight = "during", "Page faults during a writeback, of two sides in turn", 0.25
    figures = tuple(
        PairedFigure(m.FAULT_LATENCY, f"{slot} {name} during writeback")
        for slot in ("RAM", "storage") for name in _QUANTILES
    )  # fmt: skip
    needs = Capability.page_index

    def __init__(self) -> None:
        self._rounds: Rounds[PhoneSide, RaceTurn] = Rounds()
        self._races: tuple[int, Races] | None = None
        self._pace: Pace | None = None

    def prepare(
        self, bench: Bench, room: FittingRoom, sides: Sequence[PhoneSide], rounds: Rounds[PhoneSide, RaceTurn]
    ) -> None:
        self._rounds, self._races = rounds, None
        # As many samples in every turn: a quantile of few samples is biased by how few they are.
        wanted = -(-bench.stage.profile.faults.samples // bench.rounds.fewest)
        self._pace = Pace(replace(bench.rounds, budget_s=math.inf), wanted)

    def turn(self, bench: Bench, room: FittingRoom, number: int) -> RaceTurn:
        if self._pace is None:
            raise RuntimeError("not prepared")
        if self._races is None or self._races[0] != room.generation:
            races = Races(bench, self._pace, self._rounds, self._condition(bench.stage), [])
            bench.stage.as_swap(4 * self._pace.wanted + 2 * races.most_victim)
            self._races = room.generation, races
        return self._races[1].turn(self._condition(bench.stage), number)

    def _condition(self, stage: Stage) -> RaceCondition:
        return RaceCondition(Meanwhile.running, batch_of(stage))

    def values(self, turn: RaceTurn) -> Mapping[PairedFigure, float]:
        return _quantile_figures(self.figures, [turn.latencies(slot) for slot in SLOTS])

    def results(self, bench: Bench, side: PhoneSide, rounds: Rounds[PhoneSide, RaceTurn]) -> list[RunResult]:
        turns = rounds.values(side)
        return [
            RunResult(
                t.AB_FAULTS.name, self.title, {"side": side.name, "slot": slot, "writeback": "running"}, {},
                raw=faults_by_turn(bench, f"ab-during-{side.name}-{slot}", [turn.latencies(slot) for turn in turns]),
                caveats=rounds.caveats(side), turns=rounds.turns(side),
            )
            for slot in (*SLOTS, "in_flight") if any(turn.latencies(slot).size for turn in turns)
        ]  # fmt: skip


class Switching(Question[AppRun]):
    """Switching between apps, with the first writeback of the profile that is not ``off``; a turn is a whole play."""

    name, title, weight = "switch", "App switches of two sides in turn", 0.15
    figures = (PairedFigure(m.SWITCH_LATENCY, "p50"),)
    measures_itself = of_apps = True

    def __init__(self) -> None:
        self._shared = Shared()

    def turn(self, bench: Bench, room: FittingRoom, number: int) -> AppRun:
        return run_apps(bench, SwitchCondition(_trigger(bench.stage), batch_of(bench.stage)), self._shared)

    def values(self, turn: AppRun) -> Mapping[PairedFigure, float]:
        found = [switch.latency_ns / NS_PER_MS for switch in made(turn.switches)]
        return {self.figures[0]: float(np.median(found))} if found else {}

    def results(self, bench: Bench, side: PhoneSide, rounds: Rounds[PhoneSide, AppRun]) -> list[RunResult]:
        runs = rounds.values(side)
        medians = [value for run in runs for value in self.values(run).values()]
        kind = runs[0].workload.kind
        return [
            RunResult(
                t.AB_SWITCH.name, self.title,
                {"side": side.name, "kind": kind, "writeback": str(_trigger(bench.stage))},
                m.SWITCH_LATENCY.of(medians), caveats=rounds.caveats(side),
                facts={"killed": sum(len(run.deaths) for run in runs)}, turns=rounds.turns(side),
            )
        ]  # fmt: skip


def batch_of(stage: Stage) -> int | None:
    """Return the batch size of a side: its own or the kernel's default; None on a kernel without the attribute."""
    return stage.batch_sizes([stage.batch_size or DEFAULT_BATCH_SIZE])[0]


def _trigger(stage: Stage) -> Trigger:
    triggers = [each for each in stage.profile.apps.writeback if each is not Trigger.off]
    return triggers[0] if triggers else Trigger.idle


def _quantile_figures(figures: Sequence[PairedFigure], slots: Sequence[Samples]) -> dict[PairedFigure, float]:
    """Return the quantiles of a turn's samples, slot by slot as the figures are, where it has enough of them."""
    found: dict[PairedFigure, float] = {}
    wanted = [(samples, share) for samples in slots for share in _QUANTILES.values()]
    for each, (samples, share) in zip(figures, wanted, strict=True):
        # A hair more: 200 * (1 - 0.99) is not quite 2 in binary.
        if samples.size and (share == 0.5 or samples.size * (1 - share) + 1e-9 >= _BEYOND):
            found[each] = float(np.quantile(samples, share, method="inverted_cdf"))
    return found


def all_questions(pages: PageKind | None) -> dict[str, Question[Any]]:
    """Return every question by its name, in the order in which a short budget answers them.

    ``pages`` is what they write where the sides' compressors differ; None: what the tests of the suites write.
    """
    known: tuple[Question[Any], ...] = (
        Throughput(pages), QuietFault(pages), FaultDuring(), Switching(), InFlight(),
    )  # fmt: skip
    return {each.name: each for each in known}
