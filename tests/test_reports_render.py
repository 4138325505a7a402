"""Reports as people get them: text, mail, page and CSV of whole, killed, odd and hostile runs."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import re
import time
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from base.errors import ReportError
from commands.__main__ import main
from records import metrics as m
from records import model
from records.writing import RunFolder
from reports.render import Rendered, render_all
from tests import reports_sample as sample

HOSTILE = "<script>alert(1)</script>\"'& $x$ \x1b[31m"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    return render_all(sample.write_run(tmp_path_factory.mktemp("results")))


@pytest.fixture
def everything(produced_report: Rendered) -> Rendered:
    """A run of every test."""
    return produced_report


def page(rendered: Rendered) -> str:
    return rendered.paths["html"].read_text(encoding="utf-8")


def render(tmp_path: Path, *results: model.RunResult | model.TestOutcome | model.End, **changes: Any) -> Rendered:
    folder = RunFolder.create(tmp_path, "phone", sample.NOW)
    folder.append(sample.session(folder.run_id, **changes))
    for result in results:
        folder.append(result)
    return render_all(folder.path)


def end() -> model.End:
    return model.End(0, "2026-11-23T10:20:00Z")


def test_the_files_hold_what_is_returned(good: Rendered) -> None:
    assert {kind: path.name for kind, path in good.paths.items()} == {
        "text": "report.txt", "mail": "mail.txt", "html": "report.html", "csv": "report.csv",
    }  # fmt: skip
    assert good.paths["text"].read_text(encoding="utf-8") == good.text
    assert good.paths["mail"].read_text(encoding="utf-8") == good.mail


def test_a_report_says_which_processor_page_size_and_file_system_it_is_of(tmp_path: Path, good: Rendered) -> None:
    assert "\nx86_64, pages of 4 KiB, backing file on f2fs\n" in good.text
    assert "x86_64, pages of 4 KiB, backing file on f2fs" in page(good)
    assert "bytes at once" not in " ".join(good.text.split())
    large = render_all(sample.write_run(tmp_path, arch="aarch64", page_size_bytes=16384))
    for said in (large.text, " ".join(large.mail.split()), page(large)):
        assert "pages of 16 KiB; counters of 4 KiB" in said
    assert re.search(r"^ +32 +512 KiB +49\.8", large.text, re.MULTILINE)


def test_the_answer_comes_first_in_plain_words(good: Rendered) -> None:
    for told in (good.screen, good.text):
        text = " ".join(told.split())
        assert "batch 32 wrote back 49.8 MiB/s [48.0, 50.1], 7.12 times [6.81, 7.16] batch 1." in text
        assert "490.0 µs [485.1, 494.9] written back, 80.00 µs [79.20, 80.80] in RAM: 6.12 times" in text
        assert "Data integrity: all 16384 pages that were checked came back intact." in text
        assert "Tests: 2 tests passed, 1 skipped." in text


def test_the_page_begins_with_what_must_be_known_then_one_table_and_one_plot(good: Rendered) -> None:
    content = page(good)
    marks = ["VIRTUAL PHONE", "NOISE", 'id="overview"', "<svg", 'class="verdict"', '<section id="throughput">']
    assert [content.index(mark) for mark in marks] == sorted(content.index(mark) for mark in marks)
    assert content.index("<td") > content.index('id="overview"')


def test_each_section_of_the_page_shows_one_table_and_folds_the_others(everything: Rendered) -> None:
    for part in re.findall(r'<section id="[\w-]+">.*?</section>', page(everything), re.DOTALL):
        shown = re.sub(r"<details>.*?</details>", "", part, flags=re.DOTALL)
        assert shown.count("<table>") == 1


def test_throughput_is_a_row_per_batch_with_interval_ratio_and_cpu_time(good: Rendered) -> None:
    table = good.text.split("\nWriteback throughput by batch size")[1].split("\n\n")[1]
    rows = [" ".join(line.split()) for line in table.splitlines() if re.match(r" +32 ", line)]
    assert rows == ["32 49.8 [48.0, 50.1] 8/9 7.12 [6.81, 7.16] 0.642 0.4842"]


def test_fault_latency_is_in_us_with_its_price(good: Rendered) -> None:
    table = good.text.split("\nTime of one page fault, in µs")[1]
    storage, bounds = next(
        (line.split(), below.split())
        for line, below in itertools.pairwise(table.splitlines())
        if line.startswith("storage")
    )
    assert storage == ["storage", "8000", "8", "490.0", "490.0", "1000", "1020", "6.12", "12.5"]
    assert " ".join(bounds).startswith("[485.1, 494.9] [485.1, 494.9] [990, 1010]")


def test_a_doubt_stands_beside_its_number_and_is_spelt_out(tmp_path: Path) -> None:
    slow = [11.0, 34.0, 34.1, 34.2, 34.3]
    points = [sample.throughput(1, "sparse", [7.0] * 5), sample.throughput(8, "sparse", slow, warmups={})]
    text = render(tmp_path, *points, end()).text
    assert len(re.findall(r"^ +8 .* a$", text, re.MULTILINE)) == 1
    assert f"a: {model.Caveat.first_run_slow.value}" in text


def test_no_cause_is_named_that_cannot_be_it(tmp_path: Path) -> None:
    """A warm-up was made: blocks were allocated before the first turn."""
    text = render(tmp_path, sample.throughput(8, "sparse", [11.0, 34.0, 34.1, 34.2, 34.3]), end()).text
    assert model.Caveat.first_run_slow.value not in text


def test_what_takes_less_than_a_tick_is_told_as_that(tmp_path: Path) -> None:
    point = sample.throughput(1, "sparse", [7.0] * 8, turns=sample.turns(8))
    costs = m.WALL.of([0.4] * 8) | m.SYS_CPU.of([0.000014] * 8)
    rendered = render(tmp_path, dataclasses.replace(point, metrics={**point.metrics, **costs}), end())
    for told in (rendered.screen, rendered.mail, rendered.text):
        assert "< 0.01" in told
        assert "0.00001" not in told


@pytest.mark.parametrize("kind", ["text", "mail", "html"])
def test_a_virtual_phone_says_so_loudly(good: Rendered, kind: str) -> None:
    assert "VIRTUAL PHONE" in good.paths[kind].read_text(encoding="utf-8")


def test_hardware_makes_no_such_noise(tmp_path: Path) -> None:
    rendered = render(tmp_path, end(), virtual=False, accelerator=None, model="Pixel 8", device="shiba")
    assert "VIRTUAL" not in rendered.text + rendered.mail + page(rendered)


def test_a_killed_run_is_rendered_and_marked(tmp_path: Path) -> None:
    path = sample.write_run(tmp_path)
    lines = (path / "results.jsonl").read_bytes().splitlines(keepends=True)
    (path / "results.jsonl").write_bytes(b"".join(lines[:-1]))
    rendered = render_all(path)
    for content in (rendered.text, rendered.mail, page(rendered)):
        assert "did not reach its end" in " ".join(content.split())
    assert "49.8 MiB/s" in rendered.text


def test_failure_corruption_and_wrong_books_come_before_the_figures(tmp_path: Path) -> None:
    wrong = {"bd_stat writes": {"expected": 8192, "seen": 8000}}
    rendered = render(
        tmp_path,
        sample.throughput(1, "sparse", [7.0] * 5, checks=wrong),
        sample.integrity("swap", corrupt=3),
        model.TestOutcome("a", "Every page comes back", "failed", "3 pages differ"),
        end(),
    )
    for content in (rendered.text, page(rendered).replace("&#39;", "'"), rendered.mail):
        flat = " ".join(content.split())
        alarms = ["1 of 1 tests did not pass: Every page comes back (3 pages differ)", "3 pages came back different",
                  "counters disagree with the measurement: writeback_throughput (bd_stat writes)"]  # fmt: skip
        first_figure = flat.index("7.00")
        assert [0 <= flat.find(alarm) < first_figure for alarm in alarms] == [True] * 3, flat
    assert re.search(r"8192 +8000 +DIFFERS", rendered.text)
    assert "intact" not in rendered.text.split("Data integrity")[0]


def test_a_kernel_without_batches_has_its_one_point(tmp_path: Path) -> None:
    point = sample.throughput(None, "sparse", [7.0, 7.1, 6.9, 7.0, 7.2], caveats=[model.Caveat.no_batch_size])
    rendered = render(tmp_path, point, end())
    assert "this kernel writes one page at a time" in " ".join(rendered.text.split())
    assert model.Caveat.no_batch_size.value in " ".join(rendered.text.split())
    assert "one page at a time (no writeback_batch_size)" in page(rendered)


def test_what_no_table_knows_is_still_shown(tmp_path: Path) -> None:
    odd = model.RunResult(
        "switch_latency", "Switching", {"apps": 12}, {"switch.latency": model.Metric("ms", "lower", [101.0] * 5)},
        facts={"lmkd": "2 kills"}, warmups={"switch.latency": model.Metric("ms", "lower", [444.0])},
    )  # fmt: skip
    rendered = render(tmp_path, odd, end())
    for content in (rendered.text, page(rendered)):
        assert [word in content for word in ("switch.latency", "101", "apps 12", "2 kills", "444")] == [True] * 5


def test_samples_of_an_unknown_test_get_quantiles(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "phone", sample.NOW)
    folder.append(sample.session())
    known = sample.fault_record(folder, "fault_latency", {"slot": "ram"}, sample.flat([80, 90]))
    folder.append(model.RunResult("fault_under_load", "t", {"heat": "high"}, {}, raw=known.raw))
    assert re.search(r"fault_under_load +heat high +fault\.latency p99 +ns", render_all(folder.path).text)


def test_two_points_with_the_same_parameters_are_both_shown(tmp_path: Path) -> None:
    rendered = render(tmp_path, *(sample.throughput(1, "sparse", [rate] * 5) for rate in (7.0, 8.0)), end())
    assert len(re.findall(r"^ +1 +(7|8)\.00 .* 5 +", rendered.text, re.MULTILINE)) == 2


def test_nothing_measured_is_said(tmp_path: Path) -> None:
    rendered = render(tmp_path, end())
    assert "Nothing was measured." in rendered.text
    assert "Nothing was measured." in page(rendered)


def test_unreadable_samples_are_listed_and_the_rest_is_shown(tmp_path: Path) -> None:
    path = sample.write_run(tmp_path)
    (path / "raw" / "fault_latency-ram-lzo-rle.npy").write_bytes(b"junk")
    rendered = render_all(path)
    assert "NOT READ: raw/fault_latency-ram-lzo-rle.npy" in rendered.text
    assert "49.8 MiB/s" in rendered.text


class Page(HTMLParser):
    """What the checks need to know about a page."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def attributes(self, name: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(name)) is not None]


def test_the_page_needs_nothing_else(everything: Rendered) -> None:
    parsed = Page(page(everything))
    assert {tag for tag, _ in parsed.tags} & {"script", "link", "img", "iframe", "object"} == set()
    links = parsed.attributes("src") + parsed.attributes("href") + parsed.attributes("xlink:href")
    assert [link for link in links if not link.startswith("#")] == []
    assert re.findall(r"@import|url\((?!#)", page(everything)) == []


def test_ids_are_unique_and_references_resolve(everything: Rendered) -> None:
    parsed = Page(page(everything))
    ids = parsed.attributes("id")
    assert sorted(ids) == sorted(set(ids))
    links = parsed.attributes("xlink:href")
    references = [link[1:] for link in links] + re.findall(r"url\(#([^)]+)\)", page(everything))
    assert len(references) > 100
    assert set(references) - set(ids) == set()


def test_the_page_is_accessible(good: Rendered) -> None:
    parsed = Page(page(good))
    assert {attributes.get("scope") for tag, attributes in parsed.tags if tag == "th"} == {"row", "col"}
    plots = [attributes for tag, attributes in parsed.tags if tag == "figure" and attributes.get("role") == "img"]
    assert len(plots) == 2
    assert "batch 32 49.8" in str(plots[0]["aria-label"])
    assert [tag for tag, _ in parsed.tags].count("h1") == 1


def test_every_plot_is_well_formed_with_text_as_text(good: Rendered) -> None:
    svgs = re.findall(r"<svg.*?</svg>", page(good), re.DOTALL)
    texts = [
        {str(each.text) for each in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")}
        for svg in svgs
    ]
    assert {"MiB/s", "32", "32 MiB, incompressible pages"} <= texts[0]
    assert {"99.9 %", "490", "80.0", "page in storage"} <= texts[1]


def test_strings_from_a_phone_stay_strings(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, HOSTILE, sample.NOW)
    folder.append(sample.session(HOSTILE, model=HOSTILE, build=HOSTILE, serial=HOSTILE, ufs={HOSTILE: HOSTILE}))
    folder.append(sample.throughput(1, HOSTILE, [7.0] * 5, pages=HOSTILE))
    folder.append(sample.throughput(1, "sparse", [7.0] * 5, pages=HOSTILE))
    folder.append(model.RunResult(HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, {}, facts={HOSTILE: [HOSTILE]}))
    folder.append(model.TestOutcome(HOSTILE, HOSTILE, "failed", HOSTILE))
    (folder.path / "<b>.log").touch()
    rendered = render_all(folder.path)
    assert {tag for tag, _ in Page(page(rendered)).tags} & {"script", "b"} == set()
    assert "\x1b" not in rendered.text + rendered.mail + page(rendered)


def test_rendering_again_changes_nothing_and_is_quick(everything: Rendered) -> None:
    before = {path: path.read_bytes() for path in everything.paths.values()}
    started = time.process_time()  # not wall time: other tests may share this computer's CPUs
    render_all(everything.paths["html"].parent)
    assert time.process_time() - started < 5
    assert {path: path.read_bytes() for path in everything.paths.values()} == before


def test_the_csv_holds_every_value_of_every_repeat(good: Rendered) -> None:
    with good.paths["csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = [r for r in rows if (r["batch_size"], r["order"], r["pages"]) == ("32", "sparse", "incompressible")]
    rates = [r for r in chosen if r["metric"] == "writeback.throughput"]
    assert [(r["warmup"], r["repeat"]) for r in rates] == [("1", "1"), *(("0", str(n)) for n in range(1, 10))]
    assert [float(r["value"]) for r in rates[1:]] == sample.RATES[32]
    assert (rates[1]["unit"], rates[1]["better"], rates[1]["data_bytes"]) == ("MiB/s", "higher", "33554432")


def test_a_parameter_named_like_a_column_gets_out_of_its_way(tmp_path: Path) -> None:
    point = model.RunResult("t", "t", {"unit": "x"}, {"m": model.Metric("s", "lower", [0.1])})
    content = render(tmp_path, point).paths["csv"].read_text()
    assert content == "test,param_unit,metric,unit,better,repeat,warmup,value\nt,x,m,s,lower,1,0,0.1\n"


def test_report_renders_again_and_prints_the_paths(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = sample.write_run(tmp_path)
    assert main(["report", str(path)]) == 0
    out = capfd.readouterr().out
    assert "By batch size" in out
    assert "Writeback throughput by batch size" not in out
    assert str(path / "report.html") in out


def test_report_prints_every_table_if_asked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = sample.write_run(tmp_path)
    assert main(["report", "-v", str(path)]) == 0
    assert "Writeback throughput by batch size" in capfd.readouterr().out


def test_report_goes_on_after_a_bad_run_and_fails_at_the_end(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = sample.write_run(tmp_path)
    assert main(["report", "--mail", str(tmp_path / "none"), str(path)]) == ReportError.exit_status
    out, err = capfd.readouterr()
    assert str(path / "mail.txt") in out
    assert ("no such run" in err, "->" in err) == (True, True)


@pytest.mark.parametrize(
    ("status", "told"), [(0, ""), (1, ""), (2, "was interrupted"), (10, "was lost"), (13, "could not be put back")]
)
def test_how_a_run_ended_stands_before_its_figures(status: int, told: str, tmp_path: Path) -> None:
    run = sample.write_run(tmp_path)
    records = run / "results.jsonl"
    *rest, end = records.read_text(encoding="utf-8").splitlines()
    ended = json.dumps(json.loads(end) | {"exit_status": status})
    records.write_text("\n".join([*rest, ended, ""]), encoding="utf-8")
    rendered = render_all(run)
    for text in (rendered.screen, rendered.mail):
        above = " ".join(text.partition("By batch size")[0].split())
        assert ("ATTENTION: The" in above) is bool(told)
        assert told in above
