"""The section of app switches: price and gain by trigger, kinds of switches, who was killed, plots over time."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from records import metrics as m
from records import model
from records import tests as t
from records.reading import StoredRun, load
from records.writing import RunFolder
from reports.render import Rendered
from tests import reports_sample as sample
from tests.produced_run import median, produced
from tests.test_reports_sections import block, findings, render, svgs


@pytest.fixture(scope="module")
def run(produced_run: Path) -> StoredRun:
    return load(produced_run)


def test_switches_are_told_by_trigger_with_price_and_gain(produced_report: Rendered, run: StoredRun) -> None:
    said = findings(produced_report)["Switching between apps"]
    off, idle = (
        produced(run, t.APP_SWITCH, writeback=how, batch_size=size) for how, size in (("off", None), ("idle", 32))
    )
    assert f"{median(off, m.SWITCH_LATENCY):.3f} ms without writeback; " in said
    assert "Without writeback: 1 kill" in said
    zram = " against ".join(f"{median(point, m.ZRAM_MEMORY_MEAN):.3g}" for point in (idle, off))
    assert "With idle writeback, batch 32: no kill; zram " in said
    assert zram.split(" against ")[0] in said
    read = int(np.load(run.folder / idle.raw["switch.flash_pages"]).sum())
    assert f"{median(idle, m.FLASH_WRITTEN):.2f} MiB written, {read} pages read back" in said
    assert "hurt least" not in said


@pytest.mark.parametrize(
    ("waited_us", "words"),
    [
        (0, "no memory pressure (PSI 0)"),
        (2_500_000, "memory pressure for up to 2.5 s"),
        (None, "memory pressure not known"),
    ],
)
def test_psi_decides_whether_memory_was_short(
    run: StoredRun, tmp_path: Path, waited_us: int | None, words: str
) -> None:
    folder = RunFolder.create(tmp_path, "phone", sample.NOW)
    folder.append(sample.session(folder.run_id))
    point = produced(run, t.APP_SWITCH, writeback="idle", batch_size=32)
    facts = {} if waited_us is None else {"psi_total_us": {"some": waited_us, "full": 0}}
    rendered = render(folder, dataclasses.replace(point, raw={}, facts=facts))
    assert words in findings(rendered)["Switching between apps"]
    assert "under memory pressure" not in rendered.screen + rendered.mail


def test_switch_latency_is_split_by_kind(produced_report: Rendered, run: StoredRun) -> None:
    point = produced(run, t.APP_SWITCH, writeback="off")
    kinds, ns, majflt = (np.load(run.folder / point.raw[f"switch.{name}"]) for name in ("kind", "latency_ns", "majflt"))
    assert set(kinds) == {1, 2}, "the killed app was started anew"
    row = next(line for line in block(produced_report.text, "What a switch costs, in ms") if line.startswith("off"))
    for kind in (1, 2):
        assert f"{np.median(ns[kinds == kind]) / 1e6:.3g}"[:4] in row
    counts = [f"({int((kinds == kind).sum())})" for kind in (1, 2)]
    assert re.search(r" +".join(map(re.escape, counts)), produced_report.text)
    assert re.search(rf"^off .*\b1 +4 +{int(majflt.sum())} ", produced_report.text, re.MULTILINE)
    assert re.search(r"^off .* zwb\.app01 +signal 9$", produced_report.text, re.MULTILINE)


def test_one_run_per_condition_is_no_lack_of_repeats(produced_report: Rendered) -> None:
    table = block(produced_report.text, "Kills and flash")
    assert model.Caveat.few_repeats.value not in " ".join(" ".join(table).split())


def test_switches_without_their_course_keep_their_tables(run: StoredRun, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "phone", sample.NOW)
    folder.append(sample.session(folder.run_id))
    point = produced(run, t.APP_SWITCH, writeback="idle", batch_size=32)
    bare = model.RunResult(point.test, point.title, point.params, {"switch.latency": point.metrics["switch.latency"]})
    rendered = render(folder, bare)
    assert "kills unknown" in findings(rendered)["Switching between apps"]
    assert [key for key in svgs(rendered) if key.startswith("switches")] == []


def test_survival_and_timelines_show_kills_and_writebacks(produced_report: Rendered) -> None:
    plots = svgs(produced_report)
    off, written = plots["switches-time-plot-1-1"], plots["switches-time-plot-1-2"]
    assert (">kill<" in off, ">writeback<" in off) == (True, False)
    assert (">kill<" in written, ">writeback<" in written) == (False, True)
    assert {"no writeback", "idle, batch 32"} <= set(re.findall(r">([^<>]+)</text>", plots["switches-alive-plot-1"]))
