"""Each question's section, as people get it: the right numbers, in words, in text, mail and page."""

from __future__ import annotations

import dataclasses
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from base.units import MIB
from records import metrics as m
from records import model
from records import tests as t
from records.reading import StoredRun, load
from records.tests import TESTS
from records.writing import RunFolder
from reports.render import Rendered, render_all
from tests import reports_sample as sample
from tests.produced_run import copied, median, of, produced
from tests.reports_sample import fault_record, flat
from tests.test_reports_render import Page, page


@pytest.fixture
def full(produced_report: Rendered) -> Rendered:
    return produced_report


@pytest.fixture(scope="module")
def run(produced_run: Path) -> StoredRun:
    return load(produced_run)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder.create(tmp_path, "phone", sample.NOW)
    made.append(sample.session(made.run_id))
    return made


def render(folder: RunFolder, *results: model.RunResult) -> Rendered:
    for result in results:
        folder.append(result)
    return render_all(folder.path)


def findings(rendered: Rendered) -> dict[str, str]:
    """Section -> what the head of the text report says of it."""
    paragraphs = re.findall(r"^\* (.*?)(?=^\* |\n\n)", rendered.text, re.MULTILINE | re.DOTALL)
    return dict(" ".join(each.split()).split(": ", 1) for each in paragraphs)


def block(text: str, title: str) -> list[str]:
    """The lines of the table with this title, up to the next title."""
    lines = text.split(title, 1)[1].splitlines()[2:]
    ends = [i for i, line in enumerate(lines[1:]) if line and set(line) == {"-"}]
    return lines[: ends[0]] if ends else lines


def svgs(rendered: Rendered) -> dict[str, str]:
    """Key of a plot -> its svg element."""
    return dict(re.findall(r'<figure class="plot" id="([\w-]+)".*?(<svg.*?</svg>)</figure>', page(rendered), re.DOTALL))


SECTIONS = {
    "throughput": "Writeback throughput",
    "depth": "Writes in flight",
    "faults": "Page fault latency",
    "faults-writeback": "Page faults while writeback runs",
    "faults-load": "Page faults under load",
    "backing-variants": "Kinds of backing device",
    "compressors": "Compressors",
    "app-switches": "Switching between apps",
    "data-integrity": "Data integrity",
}


def test_every_question_has_its_section_with_plots_and_findings(full: Rendered) -> None:
    shown = dict(re.findall(r'<section id="([\w-]+)">\s*<h2>(.*?)</h2>', page(full)))
    assert shown == SECTIONS
    assert list(findings(full)) == [*SECTIONS.values(), "Tests"]
    plots = svgs(full)
    for start in ("depth-", "faults-writeback-", "faults-load-", "backing-", "compressors-", "switches-"):
        assert any(key.startswith(start) for key in plots), start


def test_every_plot_of_the_full_run_is_well_formed_and_named(full: Rendered) -> None:
    for key, svg in svgs(full).items():
        texts = {str(each.text) for each in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")}
        assert len(texts) > 5, key
    parsed = Page(page(full))
    labels = [attributes["aria-label"] for tag, attributes in parsed.tags if attributes.get("role") == "img"]
    assert [label for label in labels if not label or len(label) < 40] == []
    ids = parsed.attributes("id")
    assert sorted(ids) == sorted(set(ids))
    links = parsed.attributes("src") + parsed.attributes("href") + parsed.attributes("xlink:href")
    assert [link for link in links if not link.startswith("#") or link[1:] not in ids] == []


def test_widths_and_numbers_are_fit_to_print(full: Rendered) -> None:
    assert max(map(len, full.text.splitlines())) <= 100
    assert max(map(len, full.mail.splitlines())) <= 72
    for content in (full.text, full.mail, page(full)):
        assert re.search(r"\b(nan|inf|None(?! of the settings)|True|False)\b", content) is None


def test_what_a_section_shows_is_not_told_again(full: Rendered) -> None:
    further = "\n".join(block(full.text, "Further figures\n"))
    told = {
        "fault.latency",
        "fault.worker",
        "writeback.inflight",
        "trace.cost",
        "zram.ratio",
        "switch.",
        "memory.available",
    }
    assert {name for name in told if name in further} == set()
    assert "fault.major" in further
    facts = "\n".join(block(full.text, "Read at each point\n"))
    assert {name for name in ("time_at_depth", "verified", "victims", "psi_total_us") if name in facts} == set()
    assert "sequence_sha256" in facts


def test_a_killed_run_shows_what_it_has(produced_run: Path, tmp_path: Path) -> None:
    path = shutil.copytree(produced_run, tmp_path / produced_run.name)
    lines = (path / "results.jsonl").read_bytes().splitlines(keepends=True)
    (path / "results.jsonl").write_bytes(b"".join(lines[:25]))
    rendered = render_all(path)
    assert "did not reach its end" in " ".join(rendered.text.split())
    shown = re.findall(r'<section id="([\w-]+)">', page(rendered))
    assert ("depth" in shown, "app-switches" in shown) == (True, False)


ODD = (None, 7, "x", [1], {"x": "y"}, {"some": "x", "max": "hot", "0": None})


@pytest.mark.parametrize("odd", ODD)
def test_odd_facts_cost_only_themselves(run: StoredRun, folder: RunFolder, odd: object) -> None:
    names = set().union(*(test.fact_names for test in TESTS.values()))
    points = [
        produced(run, t.DEPTH, batch_size=8, layer="loop"),
        produced(run, t.FAULTS_WRITEBACK, batch_size=8, slot="in_flight"),
        produced(run, t.APP_SWITCH, writeback="idle", batch_size=32),
        *of(run, t.BACKING),
    ]
    spoilt = [dataclasses.replace(point, facts=dict.fromkeys(names, odd)) for point in points]
    rendered = render(copied(run, folder, *points), *spoilt)
    assert len(findings(rendered)) == 3


def test_no_sample_at_all_is_said_in_the_general_table(folder: RunFolder) -> None:
    nothing = fault_record(folder, "fault_latency_writeback", {"slot": "in_flight"}, flat([]))
    rendered = render(folder, nothing)
    assert re.search(r"fault_latency_ +page was in in flight +fault\.latency p50", rendered.text)
    assert "Nothing was measured." in rendered.text


# In-flight depth


def test_depth_is_compared_with_what_limits_it(full: Rendered, run: StoredRun) -> None:
    said = findings(full)["Writes in flight"]
    assert said == (
        "With batch 32, 32 writes were in flight at the loop device (expected 32) and 32 at the disk; "
        f"{median(produced(run, t.DEPTH, batch_size=32, layer='loop'), m.IN_FLIGHT_MEAN):.1f} on average."
    )
    rows = {
        tuple(line.split()[:2]): " ".join(line.split()) for line in block(full.text, "Writes in flight by batch size")
    }
    mean = median(produced(run, t.DEPTH, batch_size=8, layer="disk"), m.IN_FLIGHT_MEAN)
    assert rows["8", "disk"].startswith(f"8 disk {mean:.2f} 8 8 batch 8, loop0 as expected")
    assert "asynchronous: the" in rows["32", "loop"]
    assert "Measured from block events of loop0 and sda." in full.text


def test_time_at_depth_and_the_cost_of_tracing_have_tables(full: Rendered, run: StoredRun) -> None:
    shares = next(
        line.split() for line in block(full.text, "Share of the time at each depth") if re.match(r" +1 +disk", line)
    )
    at_depth = produced(run, t.DEPTH, batch_size=1, layer="disk").facts["time_at_depth"]
    told = [f"{100 * at_depth[depth]:.1f}" for depth in ("0", "1")]
    assert shares == ["1", "disk", *told, *["-"] * (len(shares) - 4)]
    loop = produced(run, t.DEPTH, batch_size=8, layer="loop")
    cost = next(line.split() for line in block(full.text, "What tracing cost") if re.match(r" +8 ", line))
    rates = [f"{median(loop, row):.1f}" for row in (m.THROUGHPUT, m.UNTRACED)]
    assert cost == ["8", *rates, f"{median(loop, m.TRACE_COST):.3f}", "3", "a"]


def test_a_kernel_without_batches_writes_one_page_at_a_time(run: StoredRun, folder: RunFolder) -> None:
    loop, disk = (produced(run, t.DEPTH, batch_size=1, layer=layer) for layer in ("loop", "disk"))
    rendered = render(
        folder,
        *(
            dataclasses.replace(
                point, params={**point.params, "batch_size": None},
                facts={**point.facts, "sync": True, "flags": {"W": 0, "WS": 40960}},
            )
            for point in (loop, disk)
        ),
    )  # fmt: skip
    assert findings(rendered)["Writes in flight"].startswith(
        "On this kernel, which has no batches, 1 write was in flight at the loop device (expected 1)"
    )
    row = " ".join(" ".join(block(rendered.text, "Writes in flight by batch size")).split())
    assert "synchronous: one (40960 WS)" not in row
    assert "synchronous: one" in row


def test_depth_out_of_line_is_said(folder: RunFolder) -> None:
    shallow = model.RunResult(
        t.DEPTH.name, "t", {"batch_size": 32, "layer": "loop", "data_bytes": 1 << 20},
        {"writeback.inflight_max": model.Metric("requests", "higher", [2.0, 3.0])},
        caveats=[model.Caveat.sampled_depth],
        facts={"how": "sampled counters", "expected_max": 32, "verdict": "lower than expected"},
    )  # fmt: skip
    rendered = render(folder, shallow)
    assert findings(rendered)["Writes in flight"] == (
        "With batch 32, 3 writes were in flight at the loop device (expected 32). "
        "Not as expected at the loop device: batch 32 had 3 instead of 32."
    )
    assert model.Caveat.sampled_depth.value in " ".join(rendered.mail.split())


# Faults while writeback runs


def writeback_faults(folder: RunFolder, slot: str, batch: int | None, us: list[int]) -> model.RunResult:
    params = {"slot": slot, "batch_size": batch, "writeback": "quiet" if batch is None else "running"}
    return fault_record(folder, "fault_latency_writeback", params, flat(us))


def test_slow_down_is_against_the_quiet_phone_at_each_quantile(folder: RunFolder) -> None:
    rendered = render(
        folder,
        writeback_faults(folder, "ram", None, [80] * 8 + [100, 200]),
        writeback_faults(folder, "ram", 32, [120] * 8 + [100, 500]),
        writeback_faults(folder, "in_flight", 32, [240] * 8 + [240, 600]),
    )
    assert findings(rendered)["Page faults while writeback runs"] == (
        "While a writeback with batch 32 ran, a fault on a page in RAM took 1.5 times as long at the median and "
        "2.5 times at p99: delayed. A fault on a page in flight took 3.0 times as long as one in RAM on the quiet "
        "phone at the median and 3.0 times at p99: delayed."
    )
    times = [line.split() for line in block(rendered.text, "Times as long as on the quiet phone")]
    assert ["RAM", "batch", "32", "1.50", "~1.20", "2.50", "2.50", "~2.50"] in times
    assert ["in", "flight", "batch", "32", "3.00", "2.40", "3.00", "3.00", "~3.00"] in times


@pytest.mark.parametrize(
    ("running", "words"),
    [
        ([80] * 8 + [100, 200], "no sure delay"),
        ([82] * 8 + [100, 900], "most faults are not delayed, the slowest ones are"),
        ([100] * 8 + [110, 250], "delayed a little"),
    ],
)
def test_the_words_say_whether_faults_are_delayed(folder: RunFolder, running: list[int], words: str) -> None:
    rendered = render(
        folder,
        writeback_faults(folder, "ram", None, [80] * 8 + [100, 200]),
        writeback_faults(folder, "ram", 32, running),
    )
    assert findings(rendered)["Page faults while writeback runs"].endswith(f": {words}.")


def test_equal_latencies_are_marked_as_no_difference(folder: RunFolder) -> None:
    same = [80] * 8 + [100, 200]
    rendered = render(folder, writeback_faults(folder, "ram", None, same), writeback_faults(folder, "ram", 8, same))
    row = next(line for line in block(rendered.text, "Times as long as on the quiet phone") if line.startswith("RAM"))
    assert row.split()[3:] == ["~1.00", "~1.00", "~1.00", "~1.00", "~1.00"]


def test_quiet_faults_alone_have_no_slow_down(folder: RunFolder) -> None:
    rendered = render(folder, writeback_faults(folder, "ram", None, [80, 90]))
    assert "Times as long as on the quiet phone" not in rendered.text
    assert "quiet and while a writeback ran" in rendered.text


# Faults under load


def test_load_is_compared_per_backing_and_the_worker_has_its_share(full: Rendered) -> None:
    """The fake's disk is slowest while others read, and its loop worker takes 30 us of some 115."""
    said = findings(full)["Page faults under load"]
    assert re.search(r"random reads on loop with direct I/O, 2\.[67] times as long as without load at the median", said)
    assert "random reads on raw partition, 2.8 times and" in said
    assert "the loop worker took at most 26 % of such a fault (loop with direct I/O, no load)" in said
    worker = "\n".join(block(full.text, "The loop worker's share of a fault"))
    assert "raw partition" not in worker
    assert len(re.findall(r"%", worker)) == 8
    assert (
        len([title for title in full.text.splitlines() if title.startswith("Time of one page fault under load")]) == 3
    )


@pytest.mark.parametrize(
    ("us", "words"),
    [
        (900, "None of the settings that were tried made them faster."),
        (600, "Of the settings, the one that helped most was real-time I/O priority: 0.67 times as long"),
    ],
)
def test_a_setting_is_praised_if_it_helps(folder: RunFolder, us: int, words: str) -> None:
    def record(load: str, setting: str, us: int) -> model.RunResult:
        params = {"backing": "loop_direct", "load": load, "setting": setting, "slot": "written_back"}
        return fault_record(folder, "fault_latency_load", params, flat([us]))

    rendered = render(
        folder, record("none", "default", 500), record("cpu", "default", 900), record("cpu", "io_realtime", us)
    )
    assert words in findings(rendered)["Page faults under load"]


# Backing devices and compressors


def test_backing_devices_are_ranked_without_the_page_cache(run: StoredRun, folder: RunFolder) -> None:
    rates = {"f2fs file": 50.0, "f2fs file, sparse": 31.0, "f2fs file, buffered": 71.0, "partition": 64.0}
    points = [point for point in of(run, t.BACKING) if point.params["variant"] in rates]
    chosen = [
        dataclasses.replace(
            point,
            metrics=m.THROUGHPUT.of([
                rates[point.params["variant"]] * share * (0.45 if point.params["blocks"] == "fresh" else 1)
                for share in (0.97, 0.99, 1.0, 1.01, 1.03)
            ]),
        )
        for point in points
    ]  # fmt: skip
    rendered = render(copied(run, folder, *points), *chosen)
    assert findings(rendered)["Kinds of backing device"] == (
        "partition was the fastest to write back to with 64.0 MiB/s [62.1, 65.9], f2fs file, sparse the slowest with "
        "31.0 MiB/s [30.1, 31.9] (overwritten blocks, direct I/O). Fresh blocks reached 0.45 times the throughput of "
        "overwritten ones."
    )


def test_what_each_backing_device_was_verified_to_be_is_told(full: Rendered, run: StoredRun) -> None:
    told = " ".join(" ".join(block(full.text, "What each kind was verified to be")).split())
    assert produced(run, t.BACKING, variant="partition").facts["verified"]["size_bytes"] == 512 * MIB
    assert re.search(r"partition +overwritten .*\b512 MiB", told)


def test_compressors_show_both_kinds_of_writeback(full: Rendered, run: StoredRun) -> None:
    table = full.mail.split("Compressors (c.wb.", 1)[1].split("\n\n", 1)[0]
    rows = [line.split() for line in table.splitlines() if line.startswith("zstd")]
    off, on = (produced(run, t.COMPRESSOR, comp_algorithm="zstd", compressed_writeback=how) for how in (False, True))
    assert [row[:4] for row in rows] == [
        ["zstd", word, f"{median(point, m.RATIO):.2f}", f"{median(point, m.THROUGHPUT):.1f}"]
        for word, point in (("off", off), ("on", on))
    ]
    said = findings(full)["Compressors"]
    assert re.match(r"zstd compressed best \(2\.\d\d x\), lz4 least \(1\.\d\d x\); ", said)
    assert "wrote back fastest" in said
    assert re.search(r"lz4 had the fastest fault from RAM \(3\.\d\d µs\)\.$", said)


def test_faults_of_compressors_alone_are_shown(folder: RunFolder) -> None:
    params = {"comp_algorithm": "lz4", "compressed_writeback": None, "slot": "ram"}
    rendered = render(folder, fault_record(folder, "compressor_faults", params, flat([70, 80])))
    assert re.search(r"lz4 +not +RAM +2000 +70", rendered.text)
