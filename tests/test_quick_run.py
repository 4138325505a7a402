"""The whole: ``./lab run --plan quick`` on the virtual phone, and what must be true of its results."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from records.model import Caveat, RunResult
from records.reading import StoredRun, load
from tests.conftest import Shelf, lab
from workloads.noise import MOST_WAIT

pytestmark = pytest.mark.phone

# An idle host of two cores takes a half of it; others may be working beside.
QUICK_S, SHORT_S = 700.0, 400.0


@dataclass(frozen=True)
class Finished:
    """A run that ended: exit status, what it said, where its results are."""

    status: int
    said: str
    folder: Path
    run: StoredRun

    def runs(self, test: str, **params: object) -> list[RunResult]:
        return [
            result
            for result in self.run.runs
            if result.test == test and all(result.params.get(name) == value for name, value in params.items())
        ]


def finish(results: Path, *options: str, seconds: float) -> Finished:
    done = lab("run", *options, "--seed", "4711", "--results", str(results), timeout=seconds)
    said = done.stdout + done.stderr
    assert len(list(results.iterdir())) == 1, said
    (folder,) = results.iterdir()
    return Finished(done.returncode, said, folder, load(folder))


@pytest.fixture(scope="module")
def quick(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    shelf.clear()
    return finish(tmp_path_factory.mktemp("quick"), "--plan", "quick", seconds=QUICK_S)


@pytest.fixture(scope="module")
def older_kernel(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    shelf.clear()
    chosen = "writeback_throughput or writeback_limit or batch_size or inflight"
    return finish(tmp_path_factory.mktemp("older"), "--kernel", "6.12", "--repeats", "1", "-k", chosen, seconds=SHORT_S)


def outcomes(finished: Finished) -> dict[str, str]:
    return {outcome.test: outcome.outcome for outcome in finished.run.outcomes}


def test_it_ends_well_and_whole(quick: Finished) -> None:
    assert quick.status == 0, quick.said
    assert quick.run.problems == ()
    assert quick.run.end is not None
    assert quick.run.end.exit_status == 0
    found = outcomes(quick)
    assert found.pop("test_writeback_limit_that_ends_within_a_page") == "skipped", "it is for larger pages than 4 KiB"
    assert set(found.values()) == {"passed"}


def test_the_session_says_what_was_measured_on_what(quick: Finished) -> None:
    session = quick.run.session
    facts = session.provenance
    assert (session.plan, session.seed, session.run_id) == ("quick", 4711, quick.folder.name)
    assert (facts.virtual, facts.kernel_release[:4], facts.page_size_bytes, facts.cpus) == (True, "7.3.", 4096, 2)
    assert facts.ufs["specification_version"] == "0x0400"
    assert {"writeback_batch_size", "backing_dev", "bd_stat"} <= set(facts.zram_attributes)
    assert (facts.backing["direct_io"], facts.backing["block_size_bytes"]) == (True, 4096)
    assert Caveat.virtual in session.caveats


def test_the_files_that_are_promised_are_there(quick: Finished) -> None:
    names = {path.name for path in quick.folder.iterdir()}
    assert names >= {
        "results.jsonl", "raw", "report.html", "report.txt", "junit.xml", "kernel.log", "transcript.log"
    }  # fmt: skip
    assert "Linux version 7.3" in (quick.folder / "kernel.log").read_text()
    transcript = (quick.folder / "transcript.log").read_text()
    assert "/sys/block/zram0/writeback_batch_size -> status 0" in transcript
    assert f"report: {quick.folder / 'report.html'}" in quick.said


def test_junit_has_every_outcome(quick: Finished) -> None:
    cases = list(ElementTree.parse(quick.folder / "junit.xml").iter("testcase"))
    assert {case.get("name") for case in cases} == set(outcomes(quick))
    assert [case.get("name") for case in cases if len(case.findall("failure")) + len(case.findall("error"))] == []


class Links(HTMLParser):
    """Everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        wanted = {"src", "srcset", "data", "poster"} | ({"href"} if tag in ("link", "image", "use") else set())
        self.found += [value for name, value in attrs if name in wanted and value]


def test_the_report_is_one_file(quick: Finished) -> None:
    html = (quick.folder / "report.html").read_text()
    links = Links()
    links.feed(html)
    assert [link for link in links.found if not link.startswith(("data:", "#"))] == []
    assert re.findall(r"url\((?!['\"]?(?:data:|#))[^)]*\)|@import", html) == []
    assert "Virtual UFS Phone" in html
    assert len(html) > 20_000


def test_every_point_of_the_sweep_was_measured_in_rounds(quick: Finished) -> None:
    points = quick.runs("writeback_throughput")
    whole, *parts = sorted({r.params["data_bytes"] for r in points}, reverse=True)
    assert [whole // size for size in parts] == [8]
    assert {r.params["batch_size"] for r in points if r.params["data_bytes"] in parts} == {1, 32}
    sweep = {r.params["batch_size"]: r for r in points if r.params["data_bytes"] == whole}
    assert list(sweep) == [1, 8, 32, 64, 128]
    assert {(r.params["pages"], r.params["order"]) for r in sweep.values()} == {("incompressible", "sparse")}
    for result in sweep.values():
        values = result.metrics["writeback.throughput"].values
        assert len(values) == len(result.turns) >= result.facts["rounds"] > 0
        assert result.facts["ended_by"] in ("precision", "budget", "plan")
        assert {"writeback.cpu_writer", "writeback.cpu_loop", "writeback.cpu_all"} <= result.metrics.keys()
    assert sweep[128].warmups


def test_each_turn_says_how_disturbed_it_was(quick: Finished) -> None:
    turns = {turn.t_s: turn for result in quick.run.runs for turn in result.turns}.values()
    timed = [turn for result in quick.runs("writeback_throughput") for turn in result.turns]
    assert all(turn.wait is not None and 0 <= turn.wait <= 1 for turn in timed)
    assert all(turn.control_cpu_ns and turn.control_read_ns for turn in timed)
    assert all((turn.wait > MOST_WAIT) <= bool(turn.disturbed) for turn in timed if turn.wait is not None)
    assert quick.run.end is not None
    noise = quick.run.end.facts["noise"]
    assert (noise["turns"], noise["disturbed"]) == (len(turns), sum(bool(turn.disturbed) for turn in turns))


def test_batch_32_is_faster_than_batch_1_in_each_round(quick: Finished) -> None:
    single, batched = (quick.runs("writeback_throughput", batch_size=batch)[0] for batch in (1, 32))
    last = [
        {turn.round: value for turn, value in zip(r.turns, r.metrics["writeback.throughput"].values, strict=True)}
        for r in (single, batched)
    ]
    assert all(last[1][number] > 1.5 * last[0][number] for number in last[0])


def depth(finished: Finished, batch_size: int | None, layer: str) -> RunResult:
    (result,) = finished.runs("inflight_depth", batch_size=batch_size, layer=layer, pages="incompressible")
    return result


@pytest.mark.parametrize("batch_size", [1, 8, 32])
def test_as_many_writes_are_in_flight_as_the_batch_allows(quick: Finished, batch_size: int) -> None:
    at_loop = depth(quick, batch_size, "loop")
    assert list(at_loop.metrics["writeback.inflight_max"].values) == pytest.approx(
        [batch_size] * len(at_loop.turns), abs=1
    )
    assert (at_loop.facts["how"], at_loop.facts["sync"]) == ("block events", False)
    # The file system writes to the disk too, now and then.
    assert 0 < max(depth(quick, batch_size, "disk").metrics["writeback.inflight_max"].values) <= batch_size + 8
    assert len(at_loop.metrics["trace.cost"].values) == len(at_loop.turns)


def test_faults_were_timed_under_every_condition(quick: Finished) -> None:
    names = ("slot", "writeback", "batch_size")
    during = {tuple(r.params[name] for name in names): r for r in quick.runs("fault_latency_writeback")}
    controls = {(slot, control, None) for slot in ("ram", "written_back", "victim") for control in ("quiet", "cpu")}
    running = {(slot, "running", b) for slot in ("ram", "written_back", "in_flight") for b in (1, 8, 32, 128)}
    assert during.keys() == controls | running
    for result in during.values():
        assert result.metrics["integrity.corrupt"].values == [0]
        samples = quick.run.samples(result, "fault.latency")
        assert set(np.unique(quick.run.samples(result, "fault.turn"))) <= set(range(len(result.turns)))
        assert len(samples) == len(quick.run.samples(result, "fault.turn")) > 0, dict(result.params)


def test_variants_compressors_and_load_are_for_longer_plans(quick: Finished) -> None:
    assert not [r for r in quick.run.runs if r.test in ("backing_variant", "compressor", "fault_latency_load")]


def test_apps_were_switched_and_a_written_back_working_set_was_read_again(quick: Finished) -> None:
    switched = {(r.params["writeback"], r.params["batch_size"]): r for r in quick.runs("app_switch")}
    assert switched.keys() == {("off", None), ("idle", 32)}
    assert {r.params["apps"] for r in switched.values()} == {8}
    assert len({r.facts["sequence_sha256"] for r in switched.values()}) == 1
    for (trigger, _), result in switched.items():
        check = result.checks["pages read from flash (bd_stat)"]
        assert check["seen"] == check["expected"]
        assert (check["seen"] > 0) is (trigger != "off")
        assert result.facts["sampler_cpu_share"] < 0.02
    seconds = sum(o.seconds for o in quick.run.outcomes if o.test.startswith("test_app_switch"))
    assert seconds < 120


def test_a_written_back_page_faults_slower_than_one_in_memory(quick: Finished) -> None:
    medians = {}
    for slot in ("ram", "written_back"):
        (result,) = quick.runs("fault_latency", slot=slot)
        samples = quick.run.samples(result, "fault.latency")
        assert len(samples) >= 200 * len(result.turns)
        assert result.facts["probe_overhead_ns"].keys() == {"timer p50", "sample p50"}
        medians[slot] = float(np.median(samples))
    assert medians["written_back"] > medians["ram"] > 0


def test_the_kernels_books_agree_everywhere(quick: Finished) -> None:
    checks = [(r.test, dict(r.params), name, c) for r in quick.run.runs for name, c in r.checks.items()]
    assert {test for test, *_ in checks} >= {"writeback_throughput", "fault_latency", "data_integrity"}
    assert [check for check in checks if check[3]["expected"] != check[3]["seen"]] == []
    # Without writeback nothing is written, and there is nothing to read back.
    nothing = {(test, params["writeback"]) for test, params, _, check in checks if not check["seen"]}
    assert nothing == {("app_switch", "off"), *(("fault_latency_writeback", control) for control in ("quiet", "cpu"))}


def test_no_page_is_corrupt(quick: Finished) -> None:
    results = quick.runs("data_integrity")
    assert {result.params["path"] for result in results} == {"block", "swap"}
    for result in results:
        assert result.metrics["integrity.corrupt"].values == [0]
        assert result.metrics["integrity.pages"].values[0] >= 1024
        assert result.facts["one_flipped_byte_is_noticed"] is True


def test_the_wall_time_is_accounted_for_and_is_the_phones(quick: Finished) -> None:
    assert quick.run.end is not None
    spent = quick.run.end.wall_time_s
    parts = sum(seconds for name, seconds in spent.items() if name != "total")
    assert parts == pytest.approx(spent["total"])
    # A deadline and no measurement: five minutes on two idle cores; on a busy host what has no rounds takes longer.
    assert spent["total"] - spent["image_build"] < QUICK_S
    assert spent["wire"] + spent["host"] < 0.1 * (spent["total"] - spent["image_build"]), dict(spent)
    assert quick.run.end.facts["host_cpu_s"] < 0.05 * spent["total"]


def test_nothing_is_left_to_be_done(quick: Finished, own_state: Path) -> None:
    assert not list((own_state / "journals").glob("virtual-run.jsonl"))
    assert not list((own_state / "leases").glob("*.json"))
    assert "no phones" in lab("phone", "list").stdout


def test_an_older_kernel_has_its_one_point_and_says_so(older_kernel: Finished) -> None:
    assert older_kernel.status == 0, older_kernel.said
    assert older_kernel.run.session.provenance.kernel_release.startswith("6.12.")
    point, *parts = older_kernel.runs("writeback_throughput")
    assert {part.params["batch_size"] for part in parts} == {None}
    assert point.params["batch_size"] is None
    assert {Caveat.no_batch_size, Caveat.few_repeats} <= set(point.caveats)
    assert min(point.metrics["writeback.throughput"].values) > 0
    assert [c for c in point.checks.values() if c["expected"] != c["seen"]] == []


def test_an_older_kernel_has_one_synchronous_write_in_flight(older_kernel: Finished) -> None:
    at_loop = depth(older_kernel, None, "loop")
    assert set(at_loop.metrics["writeback.inflight_max"].values) == {1}
    assert at_loop.facts["sync"] is True


def test_an_older_kernel_keeps_the_limit_and_skips_the_attribute_with_the_reason(older_kernel: Finished) -> None:
    found = outcomes(older_kernel)
    assert found["test_writeback_limit_is_kept[1]"] == "passed"
    assert found["test_writeback_limit_grammar"] == "passed"
    skipped = {o.test: o.reason for o in older_kernel.run.outcomes if o.outcome == "skipped"}
    assert "pages of 4 KiB" in skipped.pop("test_writeback_limit_that_ends_within_a_page")
    assert skipped.keys() >= {"test_batch_size_attribute", "test_batch_size_survives_reset"}
    assert all("writeback_batch_size: not on this phone" in reason for reason in skipped.values())
