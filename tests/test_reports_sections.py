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
from tests.reports_sample import fault_record, flat, turns
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
    "faults": "Price of a fault",
    "faults-writeback": "Faults while writeback runs",
    "faults-load": "Faults under load",
    "reads": "Reads of zram files while writeback runs",
    "backing-variants": "Kinds of backing device",
    "compressors": "Compressors",
    "app-switches": "Switching between apps",
    "data-integrity": "Data integrity",
    "two-sides": "Two sides in turn",
}


def test_every_question_has_its_section_with_plots_and_findings(full: Rendered) -> None:
    shown = dict(re.findall(r'<section id="([\w-]+)">\s*<h2>(.*?)</h2>', page(full)))
    assert shown == SECTIONS
    assert list(findings(full).keys() - SECTIONS.values()) == ["Tests"]
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
    (path / "results.jsonl").write_bytes(
        b"".join(line for line in lines if b"app_switch" not in line and b'"type": "end"' not in line)
    )
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


def test_the_depth_that_is_told_is_the_mean_at_the_disk(full: Rendered, run: StoredRun) -> None:
    points = [produced(run, t.DEPTH, batch_size=32, layer=at, pages="incompressible") for at in ("disk", "loop")]
    disk, loop = (median(point, m.IN_FLIGHT_MEAN) for point in points)
    assert findings(full)["Writes in flight"].startswith(
        f"batch 32: {disk:.1f} writes at the disk on average, {loop:.1f} at the loop device"
    )
    rows = {
        tuple(line.split()[1:3]): " ".join(line.split()[1:])
        for line in block(full.text, "Writes in flight by batch size")
        if line.startswith("incompressible")
    }
    mean = median(produced(run, t.DEPTH, batch_size=8, layer="disk"), m.IN_FLIGHT_MEAN)
    assert rows["8", "disk"].startswith(f"8 disk {mean:.2f} 3 8 8 batch 8, loop0 as expected")
    assert "asynchronous: the" in rows["32", "loop"]
    assert "Measured from block events of loop0 and sda." in full.text


def test_time_at_depth_and_the_cost_of_tracing_have_tables(full: Rendered, run: StoredRun) -> None:
    shares = next(
        line.split()
        for line in block(full.text, "Share of the time at each depth")
        if re.match(r"incompressible +off +1 +disk", line)
    )
    at_depth = produced(run, t.DEPTH, batch_size=1, layer="disk").facts["time_at_depth"]
    told = [f"{100 * at_depth[depth]:.1f}" for depth in ("0", "1")]
    assert shares[2:] == ["1", "disk", *told, *["-"] * (len(shares) - 6)]
    loop = produced(run, t.DEPTH, batch_size=8, layer="loop")
    cost = next(line.split() for line in block(full.text, "What tracing cost") if re.match(r"incomp.* +8 ", line))
    rates = [f"{median(loop, row):.1f}" for row in (m.THROUGHPUT, m.UNTRACED)]
    assert cost[2:] == ["8", *rates, f"{median(loop, m.TRACE_COST):.3f}", "3", "a"]


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
    assert findings(rendered)["Writes in flight"].startswith("this kernel has no batches: 0.")
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
        "batch 32: at most 3 writes at the loop device on average. "
        "Most in flight, not as expected: batch 32 had 3 instead of 32."
    )
    assert model.Caveat.sampled_depth.value in " ".join(rendered.mail.split())


# Backing devices and compressors


SHARES = (0.97, 0.98, 0.99, 1.0, 1.0, 1.01, 1.02, 1.03)


@pytest.mark.parametrize(
    ("partition", "said"),
    [
        (64.0, "partition was the fastest to write back to, 64.0 MiB/s [62.7, 65.3] (overwritten blocks, direct I/O)."),
        (51.0, "no difference could be told between partition and f2fs file (1.02 times [1.02, 1.02]) (overwritten "
               "blocks, direct I/O)."),
    ],
)  # fmt: skip
def test_backing_devices_are_ranked_without_the_page_cache_and_only_if_rounds_tell(
    run: StoredRun, folder: RunFolder, partition: float, said: str
) -> None:
    rates = {"f2fs file": 50.0, "f2fs file, sparse": 31.0, "f2fs file, buffered": 71.0, "partition": partition}
    points = [point for point in of(run, t.BACKING) if point.params["variant"] in rates]
    chosen = [
        dataclasses.replace(
            point,
            metrics=m.THROUGHPUT.of([
                rates[point.params["variant"]] * share * (0.45 if point.params["blocks"] == "fresh" else 1)
                for share in SHARES
            ]),
            turns=turns(len(SHARES)),
        )
        for point in points
    ]  # fmt: skip
    rendered = render(copied(run, folder, *points), *chosen)
    assert findings(rendered)["Kinds of backing device"] == said


def test_what_loop_costs_is_told_against_the_same_file_without_one(run: StoredRun, folder: RunFolder) -> None:
    rates = {"f2fs file, pinned": 40.0, "f2fs file, mapped": 50.0}
    chosen = [
        dataclasses.replace(
            point,
            metrics=m.THROUGHPUT.of([rates[point.params["variant"]] * share for share in SHARES]),
            turns=turns(len(SHARES)),
            raw={},
        )
        for point in of(run, t.BACKING)
        if point.params["variant"] in rates and point.params["blocks"] == "overwritten"
    ]
    assert len(chosen) == 2
    said = findings(render(copied(run, folder), *chosen))["Kinds of backing device"]
    assert (
        "Through a loop device against the same f2fs file without one: throughput 0.800 times [0.800, 0.800]." in said
    )


def test_what_each_backing_device_was_verified_to_be_is_told(full: Rendered, run: StoredRun) -> None:
    told = " ".join(" ".join(block(full.text, "What each kind was verified to be")).split())
    assert produced(run, t.BACKING, variant="partition").facts["verified"]["size_bytes"] == 512 * MIB
    assert re.search(r"partition +overwritten .*\b512 MiB", told)


def test_compressors_show_both_kinds_of_writeback(full: Rendered, run: StoredRun) -> None:
    rows = [line.split() for line in block(full.text, "Writeback and faults by compressor") if line.startswith("zstd")]
    off, on = (produced(run, t.COMPRESSOR, comp_algorithm="zstd", compressed_writeback=how) for how in (False, True))
    assert [row[:3] for row in rows] == [
        ["zstd", word, f"{median(point, m.RATIO):.2f}"] for word, point in (("off", off), ("on", on))
    ]
    assert [float(row[3]) for row in rows] == pytest.approx([median(each, m.THROUGHPUT) for each in (off, on)], abs=0.1)


@pytest.mark.parametrize(
    ("pages", "ratios"), [("memory", "compression ratio: zstd 3.00, lz4 2.00; "), ("synthetic_mixed", "")]
)
def test_a_compressor_is_praised_for_what_rounds_tell_and_its_ratio_told_of_pages_like_memory(
    run: StoredRun, folder: RunFolder, pages: str, ratios: str
) -> None:
    rates = {"lz4": 50.0, "zstd": 30.0}
    found = {name: produced(run, t.COMPRESSOR, comp_algorithm=name, compressed_writeback=False) for name in rates}
    points = [
        dataclasses.replace(
            found[name], params={**found[name].params, "pages": pages},
            metrics=m.THROUGHPUT.of([rate * share for share in SHARES]) | m.RATIO.of([2.0 if name == "lz4" else 3.0]),
            turns=turns(len(SHARES)), raw={},
        )
        for name, rate in rates.items()
    ]  # fmt: skip
    rendered = render(folder, *points)
    said = findings(rendered)["Compressors"]
    assert said == f"{ratios}lz4 without compressed writeback wrote back fastest, 50.00 MiB/s [49.00, 51.00]."
    assert ("made by the probe" in " ".join(rendered.text.split())) is not bool(ratios)


def test_faults_of_compressors_alone_are_shown(folder: RunFolder) -> None:
    params = {"comp_algorithm": "lz4", "compressed_writeback": None, "slot": "ram"}
    rendered = render(folder, fault_record(folder, "compressor_faults", params, flat([70, 80])))
    assert re.search(r"lz4 +not there +70\.0", rendered.text)


def test_throughput_against_size_has_a_table_a_plot_and_a_sentence(folder: RunFolder) -> None:
    level = [0.97, 0.98, 0.99, 1.0, 1.0, 1.01, 1.02, 1.03, 1.0]
    points = [
        sample.throughput(batch, "sparse", [rate * each for each in level], data=size * MIB, turns=turns(9))
        for size, rates in {32: (10.0, 50.0), 8: (10.0, 40.0), 2: (10.0, 25.0)}.items()
        for batch, rate in zip((1, 32), rates, strict=True)
    ]
    rendered = render(folder, *points)
    said = findings(rendered)["Writeback throughput"]
    assert "2 MiB against 32 MiB at batch 32: 0.500 times [0.500, 0.500] the throughput." in said
    rows = [line.split() for line in block(rendered.text, "Writeback throughput by size") if " MiB " in line]
    assert [(row[0], row[1], float(row[3])) for row in rows] == [
        *(("1", size, 10) for size in ("2", "8", "32")), ("32", "2", 25), ("32", "8", 40), ("32", "32", 50)
    ]  # fmt: skip
    assert "throughput-size-plot" in svgs(rendered)


def test_one_size_is_not_told_apart_from_itself(folder: RunFolder) -> None:
    rendered = render(folder, *(sample.throughput(batch, "sparse", [10.0] * 9, turns=turns(9)) for batch in (1, 32)))
    assert "by size" not in rendered.text
    assert "throughput-size-plot" not in svgs(rendered)


def test_pages_merges_and_distances_of_writes_have_tables(full: Rendered, run: StoredRun) -> None:
    disk = produced(run, t.DEPTH, batch_size=8, layer="disk", pages="incompressible")
    row = next(line.split() for line in block(full.text, "Requests, pages and idle") if re.search(r" 8 +disk", line))
    at = row.index("disk")
    assert row[at + 1] == f"{median(disk, m.IN_FLIGHT_MEAN):.2f}"
    assert row[at + 2].startswith(f"{median(disk, m.IN_FLIGHT_PAGES):.2f}"[:3])
    steps = next(line.split() for line in block(full.text, "Distance between writes") if re.search(r" 8 +disk", line))
    told = disk.facts["sector_steps"]
    assert steps[steps.index("disk") + 1] == f"{100 * told['0']:.1f}"


def test_other_pages_are_told_beside_those_that_do_not_compress(full: Rendered) -> None:
    said = findings(full)["Writes in flight"]
    assert re.search(r"pages like memory, batch 32: [\d.]+ writes at the disk", said), said


def test_the_queue_of_the_disk_stands_below_the_depth(full: Rendered) -> None:
    assert re.search(r"Queue of the disk: .*nr_requests 128", " ".join(full.text.split()))
