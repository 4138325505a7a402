"""Each question's section, as people get it: the right numbers, in words, in text, mail and page."""

from __future__ import annotations

import dataclasses
import re
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from records import model
from records.tests import TESTS
from records.writing import RunFolder
from reports.render import Rendered, render_all
from tests import reports_sample as sample
from tests import reports_sample_questions as questions
from tests.test_reports_render import Page, page

US = np.uint64(1000)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    return render_all(questions.write_full_run(tmp_path_factory.mktemp("results")))


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


def flat(samples_us: list[int], repeat: int = 1000) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    return np.repeat(np.array(samples_us, dtype=np.uint64) * US, repeat)


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
        assert re.search(r"\b(nan|inf|None|True|False)\b", content) is None


def test_the_full_run_is_rendered_in_time(full: Rendered) -> None:
    started = time.process_time()
    render_all(full.paths["html"].parent)
    assert time.process_time() - started < 5


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


def test_a_killed_run_shows_what_it_has(tmp_path: Path) -> None:
    path = questions.write_full_run(tmp_path, end=False)
    lines = (path / "results.jsonl").read_bytes().splitlines(keepends=True)
    (path / "results.jsonl").write_bytes(b"".join(lines[:60]))
    rendered = render_all(path)
    assert "did not reach its end" in " ".join(rendered.text.split())
    shown = re.findall(r'<section id="([\w-]+)">', page(rendered))
    assert ("depth" in shown, "app-switches" in shown) == (True, False)


ODD = (None, 7, "x", [1], {"x": "y"}, {"some": "x", "max": "hot", "0": None})


@pytest.mark.parametrize("odd", ODD)
def test_odd_facts_cost_only_themselves(folder: RunFolder, odd: object) -> None:
    names = set().union(*(test.fact_names for test in TESTS.values()))
    points = [
        questions.depth(8, "loop"),
        writeback_faults(folder, "in_flight", 8, [80]),
        questions.app_switch(folder, "idle", 8, kills=1, alive=7, base_ms=100.0, seed=1),
        *questions.backing_variants(folder),
    ]
    rendered = render(folder, *(dataclasses.replace(point, facts=dict.fromkeys(names, odd)) for point in points))
    assert len(findings(rendered)) == 3


def test_no_sample_at_all_is_said_in_the_general_table(folder: RunFolder) -> None:
    nothing = questions.fault_record(folder, "fault_latency_writeback", "t", {"slot": "in_flight"}, flat([]))
    rendered = render(folder, nothing)
    assert re.search(r"fault_latency_ +page was in in flight +fault\.latency p50", rendered.text)
    assert "Nothing was measured." in rendered.text


# In-flight depth


def test_depth_is_compared_with_what_limits_it(full: Rendered) -> None:
    said = findings(full)["Writes in flight"]
    assert said == (
        "With batch 32, 32 writes were in flight at the loop device (expected 32) and 31 at the disk; 29.8 on average."
    )
    rows = {
        tuple(line.split()[:2]): " ".join(line.split()) for line in block(full.text, "Writes in flight by batch size")
    }
    assert rows["128", "disk"].startswith("128 disk 28.8 31 32 batch 128, loop3 as expected")
    assert "asynchronous: the" in rows["32", "loop"]
    assert re.search(r"^ +8 +disk .* a$", full.text, re.MULTILINE)
    assert "Measured from block events of loop3 and sda." in full.text


def test_time_at_depth_and_the_cost_of_tracing_have_tables(full: Rendered) -> None:
    shares = next(
        line.split() for line in block(full.text, "Share of the time at each depth") if re.match(r" +1 +disk", line)
    )
    assert shares == ["1", "disk", "8.0", "92.0", *["-"] * 6]
    cost = next(line.split() for line in block(full.text, "What tracing cost") if re.match(r" +32 ", line))
    assert cost == ["32", "47.1", "[46.1,", "48.1]", "50.1", "[49.1,", "51.1]", "5.90", "[2.00,", "9.80]", "5"]


def test_a_kernel_without_batches_writes_one_page_at_a_time(folder: RunFolder) -> None:
    rendered = render(folder, questions.depth(None, "loop"), questions.depth(None, "disk"))
    assert findings(rendered)["Writes in flight"].startswith(
        "On this kernel, which has no batches, 1 write was in flight at the loop device (expected 1)"
    )
    row = " ".join(" ".join(block(rendered.text, "Writes in flight by batch size")).split())
    assert "synchronous: one (40960 WS)" not in row
    assert "synchronous: one" in row


def test_depth_out_of_line_is_said(folder: RunFolder) -> None:
    shallow = questions.depth(32, "loop")
    shallow = model.RunResult(
        shallow.test, shallow.title, shallow.params,
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
    return questions.fault_record(folder, "fault_latency_writeback", "t", params, flat(us))


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
    said = findings(full)["Page faults under load"]
    assert "sequential writes on loop with direct I/O, 3.9 times as long as without load at the median" in said
    assert "Of the settings, the one that helped most was" in said
    assert "the loop worker took at most 25 % of such a fault" in said
    worker = "\n".join(block(full.text, "The loop worker's share of a fault"))
    assert "raw partition" not in worker
    assert len(re.findall(r"%", worker)) == 12
    assert (
        len([title for title in full.text.splitlines() if title.startswith("Time of one page fault under load")]) == 3
    )


def test_a_setting_that_does_not_help_is_not_praised(folder: RunFolder) -> None:
    def record(load: str, setting: str, us: int) -> model.RunResult:
        params = {"backing": "loop_direct", "load": load, "setting": setting, "slot": "written_back"}
        return questions.fault_record(folder, "fault_latency_load", "t", params, flat([us]))

    rendered = render(
        folder, record("none", "default", 500), record("cpu", "default", 900), record("cpu", "io_realtime", 900)
    )
    assert "None of the settings that were tried made them faster." in findings(rendered)["Page faults under load"]


# Backing devices and compressors


def test_backing_devices_are_ranked_without_the_page_cache(full: Rendered) -> None:
    assert findings(full)["Kinds of backing device"] == (
        "partition was the fastest to write back to with 64.0 MiB/s [62.1, 65.9], f2fs file, sparse the slowest with "
        "31.0 MiB/s [30.1, 31.9] (overwritten blocks, direct I/O). Fresh blocks reached 0.45 times the throughput of "
        "overwritten ones."
    )
    verified = " ".join(" ".join(block(full.text, "What each kind was verified to be")).split())
    assert re.search(r"f2fs file, sparse|f2fs file, fresh", verified)
    assert "64.0 MiB" in verified


def test_compressors_show_both_kinds_of_writeback(full: Rendered) -> None:
    table = full.mail.split("Compressors (c.wb.", 1)[1].split("\n\n", 1)[0]
    rows = [line.split() for line in table.splitlines() if line.startswith("zstd")]
    assert [row[:4] for row in rows] == [["zstd", "off", "3.42", "41.0"], ["zstd", "on", "3.42", "57.4"]]
    said = findings(full)["Compressors"]
    assert "zstd compressed best (3.42 x), lz4 least (2.55 x); lz4 with compressed writeback wrote back fastest" in said
    assert "(74.2 MiB/s [72.0, 76.4], no sure difference to lzo-rle with compressed writeback)" in said


def test_faults_of_compressors_alone_are_shown(folder: RunFolder) -> None:
    params = {"comp_algorithm": "lz4", "compressed_writeback": None, "slot": "ram"}
    rendered = render(folder, questions.fault_record(folder, "compressor_faults", "t", params, flat([70, 80])))
    assert re.search(r"lz4 +not +RAM +2000 +70", rendered.text)


# App switches


def test_switches_are_told_by_trigger_with_price_and_gain(full: Rendered) -> None:
    said = findings(full)["Switching between apps"]
    assert "Without writeback a switch between apps took 115 ms [82.5, 143] at the median, 5 kills." in said
    assert re.search(
        r"With idle writeback, batch 32, it took \d.* times.*?, 3 kills; zram took 20\.6 MiB less on average", said
    )
    assert "the price was 149 MiB written and 12021 pages read back" in said
    assert "With idle writeback, batch 32 hurt least." in said
    assert "cannot be told for background and periodic writeback." in said


def test_switch_latency_is_split_by_kind(folder: RunFolder) -> None:
    point = questions.app_switch(folder, "off", None, kills=1, alive=7, base_ms=100.0, seed=1)
    kinds = np.load(folder.path / point.raw["switch.kind"])
    ns = np.load(folder.path / point.raw["switch.latency_ns"])
    rendered = render(folder, point)
    row = next(line for line in block(rendered.text, "What a switch costs, in ms") if line.startswith("off"))
    for kind in range(3):
        assert f"{np.median(ns[kinds == kind]) / 1e6:.3g}"[:4] in row
    counts = [f"({int((kinds == kind).sum())})" for kind in range(3)]
    assert re.search(r" +".join(map(re.escape, counts)), rendered.text)
    majflt = int(np.load(folder.path / point.raw["switch.majflt"]).sum())
    assert re.search(rf"^off .*\b1 +7 +{majflt} ", rendered.text, re.MULTILINE)
    assert "low watermark is breached" in rendered.text


def test_one_run_per_condition_is_no_lack_of_repeats(full: Rendered) -> None:
    table = block(full.text, "Kills and flash")
    assert [line.split()[-1] for line in table if re.match(r"(idle|background|off) ", line)].count("a") == 0
    assert model.Caveat.unstopped_writer.value in "\n".join(table)


def test_switches_without_their_course_keep_their_tables(folder: RunFolder) -> None:
    point = questions.app_switch(folder, "idle", 32, kills=0, alive=8, base_ms=100.0, seed=1)
    bare = model.RunResult(point.test, point.title, point.params, {"switch.latency": point.metrics["switch.latency"]})
    rendered = render(folder, bare)
    assert "kills unknown" in findings(rendered)["Switching between apps"]
    assert [key for key in svgs(rendered) if key.startswith("switches")] == []


def test_survival_and_timelines_show_kills_and_writebacks(full: Rendered) -> None:
    plots = svgs(full)
    off, written = plots["switches-time-plot-1-1"], plots["switches-time-plot-1-2"]
    assert (">kill<" in off, ">writeback<" in off) == (True, False)
    assert (">kill<" in written, ">writeback<" in written) == (True, True)
    assert {"no writeback", "idle, batch 32"} <= set(re.findall(r">([^<>]+)</text>", plots["switches-alive-plot-1"]))
