"""A stored run with everything, made by the code that measures: each workload once, on a fake phone, in a second or so.

Whoever needs the records of a test as a phone brings them takes them from here. The figures are the fake's: a test of
words that hang on certain figures makes its records itself (tests/reports_sample.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from base.units import KIB, MIB
from devices.clocks import ClockWatch
from devices.device import Device
from devices.fake.phone import FakePhone
from devices.health import Guard
from devices.phone import Phone
from devices.profiles.profile import Profile, SwitchPattern, Trigger
from devices.profiles.sections import Sweep
from devices.profiles.what_is_measured import Apps, Compressors, Faults, Inflight, Variants
from devices.transcript import Transcript
from records.metrics import Quantity
from records.model import End, Provenance, RunResult, Session, TestOutcome
from records.reading import StoredRun
from records.tests import MeasuredTest
from records.writing import RunFolder
from tests.fake_bench import PAGES, PARTITION, SCRATCH, fake_bench, small_profile
from tests.reports_sample import NOW, WALL_TIME
from workloads.alternated import alternated_results, alternation, measure_alternated
from workloads.app_results import app_switch_result
from workloads.apps import Shared, conditions, run_apps
from workloads.attributes import (
    Written,
    batch_size_result,
    limit_grammar_result,
    limit_result,
    partial_limit_result,
    try_values,
    write_back_under_limit,
)
from workloads.bench import Bench
from workloads.budget import RoundsPlan
from workloads.compressors import CompressorRounds, compressor_results, compressors, measure_compressors
from workloads.faults_during import FaultsDuring, during_writeback_results, measure_faults_during_writeback
from workloads.faults_under_load import UnderLoad, measure_faults_under_load, under_load_results
from workloads.inflight import MeasuredDepth, inflight_results, measure_inflight
from workloads.integrity import check_block, check_swap, integrity_result
from workloads.provenance import provenance
from workloads.quiet_faults import QuietFaults, fault_results, measure_quiet_faults
from workloads.reads_during import ReadsDuring, measure_reads_during_writeback, reads_results
from workloads.regression.findings import Findings, regression_result
from workloads.regression.limits import to_the_page
from workloads.rounds import Rounds
from workloads.sides import parse_sides
from workloads.variants import VARIANTS, VariantRounds, measure_variants, variant_results
from workloads.writeback import measure_sweep, sweeps

BATCHES = (1, 8, 32)
DATA = PAGES * 4 * KIB


def profile() -> Profile:
    """Small, with everything on, and enough repeats for an interval where that costs nothing."""
    return small_profile(
        sweep=Sweep(batch_sizes=BATCHES, repeats=5).model_copy(update={"data": (DATA,)}),
        inflight=Inflight(batch_sizes=BATCHES, repeats=3).model_copy(update={"data": DATA}),
        faults=Faults(samples=100, batch_sizes=BATCHES),
        variants=Variants(data=MIB, repeats=5, ext4=SCRATCH, partition=PARTITION, erase=True),
        compressors=Compressors(data=MIB, repeats=5, batch_size=8),
        apps=Apps(
            count=4, anonymous=MIB, file_backed=64 * KIB, working_set=128 * KIB, pattern=SwitchPattern.round_robin,
            rounds=3, dwell=1, idle_age=1, delay=1, period=1, batch_sizes=(1, 32), writeback=tuple(Trigger),
        ),
    )  # fmt: skip


def phone_to_measure() -> FakePhone:
    """Virtual by its properties, as the phone that most people begin with; it kills an app while they are switched."""
    phone = FakePhone()
    phone.kills = {10: "zwb.app01"}
    phone.android.properties |= {"ro.boot.qemu": "1", "ro.boot.lab.accelerator": "tcg"}
    return phone


def session(run_id: str, facts: Provenance) -> Session:
    return Session(run_id, "2026-11-23T10:15:00Z", "quick", 4711, ["suites"], facts, list(facts.caveats))


def write_run(results: Path) -> Path:
    """The folder of a whole run on a fake phone, all tests of the suites in it."""
    with TemporaryDirectory(dir=results) as scratch, fake_bench(Path(scratch), phone_to_measure(), profile()) as fake:
        folder = RunFolder.create(results, "virtual", NOW)
        folder.append(session(folder.run_id, provenance_of(fake.device, fake.bench)))
        bench = replace(fake.bench, record=folder.append, save_raw=folder.save_raw, save_trace=folder.save_trace)
        for title, measure in MEASURED.items():
            for result in measure(replace(bench, title=title)):
                folder.append(result)
            folder.append(TestOutcome(f"test_{measure.__name__}", title, "passed", "", 1.5))
        folder.append(End(0, "2026-11-23T10:17:58Z", WALL_TIME))
    return folder.path


def provenance_of(device: Device, bench: Bench) -> Provenance:
    """What a run writes down of the phone that the bench is on."""
    guard = Guard(device, bench.stage.profile.limits, lambda text: None)
    guard.before_run()
    clock = ClockWatch(device, virtual=False, say=lambda text: None)
    return provenance(Phone(device, bench.stage.profile, Transcript(None), guard, clock), bench.stage)


def throughput(bench: Bench) -> Iterator[RunResult]:
    for plan in sweeps(bench.stage):
        yield from measure_sweep(bench, plan)


def depth(bench: Bench) -> Iterator[RunResult]:
    measure_inflight(bench, found := MeasuredDepth())
    yield from inflight_results(bench, found)


def faults(bench: Bench) -> Iterator[RunResult]:
    measure_quiet_faults(bench, found := QuietFaults())
    yield from fault_results(bench, found)


def faults_during_writeback(bench: Bench) -> Iterator[RunResult]:
    measure_faults_during_writeback(bench, found := FaultsDuring())
    yield from during_writeback_results(bench, found)


def faults_under_load(bench: Bench) -> Iterator[RunResult]:
    measure_faults_under_load(bench, found := UnderLoad())
    yield from under_load_results(bench, found)


def reads_during_writeback(bench: Bench) -> Iterator[RunResult]:
    measure_reads_during_writeback(bench, found := ReadsDuring())
    yield from reads_results(bench, found)


def backing_variants(bench: Bench) -> Iterator[RunResult]:
    rounds: VariantRounds = Rounds()
    measure_variants(bench, VARIANTS, rounds)
    for variant in VARIANTS:
        yield from variant_results(bench, variant, rounds)


def each_compressor(bench: Bench) -> Iterator[RunResult]:
    points = compressors(["lz4", "zstd"], has_compressed_writeback=True)
    rounds: CompressorRounds = Rounds()
    measure_compressors(bench, points, rounds)
    for point in points:
        yield from compressor_results(bench, point, rounds)


def app_switches(bench: Bench) -> Iterator[RunResult]:
    shared = Shared()
    for condition in conditions(bench.stage):
        yield app_switch_result(bench, run_apps(bench, condition, shared))


def integrity(bench: Bench) -> Iterator[RunResult]:
    for path, check in (("block", check_block), ("swap", check_swap)):
        yield integrity_result(bench, path, check(bench, PAGES))


def attributes(bench: Bench) -> Iterator[RunResult]:
    bench.stage.as_block_device(PAGES)

    def tried(name: str, *values: str, put_back: str) -> list[Written]:
        return try_values(bench.stage, name, values, put_back)

    taken, refused = (
        tried("writeback_batch_size", "8", put_back="32"),
        tried("writeback_batch_size", "0", put_back="32"),
    )
    (largest,) = tried("writeback_batch_size", "4096", put_back="32")
    yield batch_size_result(bench, taken, refused, largest)
    limit = tried("writeback_limit", "16", "abc", put_back="0")
    yield limit_grammar_result(bench, limit, tried("writeback_limit_enable", "1", put_back="0"))
    kept = write_back_under_limit(bench, pages=PAGES, limit_4k=PAGES // 2, batch_size=8)
    yield limit_result(bench, kept)
    yield partial_limit_result(bench, kept)


def two_sides(bench: Bench) -> Iterator[RunResult]:
    bench = replace(bench, rounds=RoundsPlan(), session=None)
    sides = parse_sides("batch_size=1", "batch_size=32")
    for names, rounds in ((("throughput",), 8), (("depth", "fault", "during", "switch"), 2)):
        found = replace(alternation(bench.stage, sides, names=names, relevant=0.05), most_rounds=rounds)
        measure_alternated(bench, found)
        yield from alternated_results(bench, found)


def regression(bench: Bench) -> Iterator[RunResult]:
    to_the_page(bench, found := Findings())
    assert not found.wrong
    yield regression_result(bench, "limit_to_the_page", found)


MEASURED: Mapping[str, Callable[[Bench], Iterator[RunResult]]] = {
    "Writeback throughput by batch size": throughput,
    "Writes in flight during writeback": depth,
    "Page fault latency": faults,
    "Page fault latency while a writeback runs": faults_during_writeback,
    "Page fault latency on a busy phone": faults_under_load,
    "How long a read of zram's files waits while a writeback runs": reads_during_writeback,
    "Writeback and page faults by what zram writes back to": backing_variants,
    "Compression ratio, writeback and page faults by compressor": each_compressor,
    "Switching between apps under memory pressure": app_switches,
    "Every page is unchanged after writeback and read-back": integrity,
    "What the attributes take, and whether a limit is kept": attributes,
    "Two sides in turn": two_sides,
    "A limit is charged and kept to the page, around one page, a batch and all pages": regression,
}


def produced(run: StoredRun, test: MeasuredTest, **params: object) -> RunResult:
    """The one record of a test with these parameters, as its workload wrote it."""
    (found,) = [each for each in of(run, test) if params.items() <= each.params.items()]
    return found


def of(run: StoredRun, test: MeasuredTest) -> list[RunResult]:
    return [each for each in run.runs if each.test == test.name]


def copied(run: StoredRun, folder: RunFolder, *results: RunResult) -> RunFolder:
    """The folder with the raw files of these records, whose names stay."""
    for result in results:
        for name in result.raw.values():
            shutil.copyfile(run.folder / name, folder.path / name)
    return folder


def median(result: RunResult, row: Quantity) -> float:
    return float(np.median(result.metrics[row.name].values))
