"""Runs on disk: what was written is read back, and what is damaged is told, never a traceback."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.errors import ReportError, StorageFailed
from records import model
from records.writing import RunFolder, load
from tests import reports_sample as sample


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "virtual", sample.NOW)


def records_of(folder: RunFolder) -> list[str]:
    return folder.records.read_text(encoding="utf-8").splitlines()


def test_a_folder_is_named_after_utc_and_the_phone(tmp_path: Path) -> None:
    now = datetime(2026, 11, 23, 12, 15, tzinfo=timezone(timedelta(hours=2)))
    assert RunFolder.create(tmp_path, "127.0.0.1:5555", now).run_id == "20261123T101500Z-127.0.0.1_5555"


def test_a_folder_is_never_used_twice(tmp_path: Path) -> None:
    ids = [RunFolder.create(tmp_path, "virtual", sample.NOW).run_id for _ in range(3)]
    assert ids == [f"20261123T101500Z-virtual{suffix}" for suffix in ("", "-2", "-3")]


def test_a_device_name_cannot_lead_out_of_the_results(tmp_path: Path) -> None:
    path = RunFolder.create(tmp_path / "results", "../../etc", sample.NOW).path
    assert path.parent == tmp_path / "results"


def test_a_time_without_zone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zone"):
        RunFolder.create(tmp_path, "virtual", datetime(2026, 11, 23))


def test_everything_written_is_read_back(folder: RunFolder) -> None:
    session = sample.session(folder.run_id)
    point = sample.throughput(32, "sparse", [50.0, 51.0], caveats=[model.Caveat.buffered_io])
    end = model.End(1, "2026-11-23T10:20:00Z", {"total": 3.5})
    for record in (session, point, *sample.OUTCOMES, end):
        folder.append(record)
    run = load(folder.path)
    assert (run.session, run.outcomes, run.end) == (session, sample.OUTCOMES, end)
    assert run.runs[0].metrics == point.metrics
    assert run.runs[0].params == point.params
    assert list(run.runs[0].caveats) == [model.Caveat.buffered_io]
    assert (run.complete, run.problems) == (True, ())


def test_a_caveat_is_stored_by_name_so_that_its_sentence_may_change(folder: RunFolder) -> None:
    folder.append(sample.throughput(1, "sparse", [7.0], caveats=[model.Caveat.throttled]))
    assert json.loads(records_of(folder)[0])["caveats"] == ["throttled"]


def test_records_take_what_measuring_code_holds(folder: RunFolder) -> None:
    folder.append(sample.session())
    facts = {"numpy": np.int64(3), "array": np.arange(2), "path": Path("/data/x"), "set": {2, 1}, "odd": "a\udcffb"}
    folder.append(model.RunResult("t", "t", {"rate": np.float64(1.5)}, {}, facts=facts))
    result = load(folder.path).runs[0]
    assert result.params == {"rate": 1.5}
    assert result.facts == {"numpy": 3, "array": [0, 1], "path": "/data/x", "set": [1, 2], "odd": result.facts["odd"]}
    assert result.facts["odd"].startswith("a")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_no_measurement(folder: RunFolder, value: float) -> None:
    with pytest.raises(ReportError, match="NaN"):
        folder.append(model.RunResult("t", "t", {}, {"m": model.Metric("s", "lower", [value])}))
    assert not folder.records.exists()


def test_samples_come_back_as_they_were_and_keep_apart(folder: RunFolder) -> None:
    first, second = np.array([1, 2**63], dtype=np.uint64), np.array([], dtype=np.uint64)
    names = [folder.save_raw("fault/latency ram", first), folder.save_raw("fault/latency ram", second)]
    assert names == ["raw/fault_latency_ram.npy", "raw/fault_latency_ram-2.npy"]
    folder.append(sample.session())
    folder.append(model.RunResult("t", "t", {}, {}, raw={"a": names[0], "b": names[1]}))
    run = load(folder.path)
    assert run.samples(run.runs[0], "a").tolist() == first.tolist()
    assert run.samples(run.runs[0], "b").tolist() == []


def test_samples_of_another_type_are_refused(folder: RunFolder) -> None:
    with pytest.raises(ValueError, match="uint64"):
        folder.save_raw("x", np.array([1.5]))


def test_a_full_disk_takes_back_the_half_written_line(folder: RunFolder) -> None:
    folder.append(sample.session())
    size = folder.records.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, hard))
    try:
        with pytest.raises(StorageFailed, match=r"results\.jsonl") as caught:
            folder.append(sample.throughput(1, "sparse", [7.0]))
        with pytest.raises(StorageFailed):
            folder.save_raw("x", np.zeros(10_000, dtype=np.uint64))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (caught.value.exit_status, "df -h" in caught.value.hint) == (11, True)
    assert folder.records.stat().st_size == size
    assert list((folder.path / "raw").iterdir()) == []
    folder.append(sample.throughput(1, "sparse", [7.0]))
    assert (len(load(folder.path).runs), load(folder.path).problems) == (1, ())


def test_results_that_cannot_be_made_say_where(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(StorageFailed, match="results"):
        RunFolder.create(tmp_path / "results", "virtual", sample.NOW)


def test_a_killed_run_is_read_up_to_the_cut(tmp_path: Path) -> None:
    path = sample.write_run(tmp_path)
    whole = load(path)
    records = path / "results.jsonl"
    records.write_bytes(records.read_bytes()[:-30])
    run = load(path)
    assert (len(run.runs), run.end, run.complete) == (len(whole.runs), None, False)
    assert len(run.problems) == 1
    assert "cut off" in run.problems[0]


def test_cut_anywhere_a_run_is_read_or_refused_with_a_reason(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "x", datetime.now(UTC))
    for record in (sample.session(), sample.throughput(1, "sparse", [7.0]), model.End(0, "now")):
        folder.append(record)
    whole = folder.records.read_bytes()
    first_line = whole.index(b"\n")
    for length in range(0, len(whole), 7):
        folder.records.write_bytes(whole[:length])
        if length < first_line:
            with pytest.raises(ReportError):
                load(folder.path)
        else:
            assert not load(folder.path).complete


Damage = Callable[[list[str]], list[str]]


def change_first(**changes: object) -> Damage:
    return lambda lines: [json.dumps(json.loads(lines[0]) | changes), *lines[1:]]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda lines: [], "empty"),
        (lambda lines: ["PNG\x00\x01", *lines], "first line is no JSON"),
        (lambda lines: ['{"a": 1}', *lines], "does not begin with a session"),
        (lambda lines: ["[" * 100_000], "no JSON"),
        (lambda lines: lines[1:], "does not begin with a session"),
        (change_first(schema=3), "schema 3, this version reads up to 2"),
        (change_first(schema=True), "schema True is not known"),
        (change_first(schema="one"), "schema 'one'"),
        (change_first(provenance={"serial": 3}), "provenance.serial"),
    ],
)
def test_a_foreign_file_is_refused_in_one_sentence(folder: RunFolder, damage: Damage, told: str) -> None:
    folder.append(sample.session())
    folder.append(model.End(0, "now"))
    folder.records.write_text("".join(f"{line}\n" for line in damage(records_of(folder))), encoding="utf-8")
    with pytest.raises(ReportError) as caught:
        load(folder.path)
    assert told in str(caught.value)
    assert (str(folder.records) in str(caught.value), bool(caught.value.hint)) == (True, True)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{not json", "line 2: damaged"),
        ('{"type": "run", "test": "t"}', "line 2: run record is left out: title"),
        ('{"type": "weather"}', "line 2: record of unknown type 'weather'"),
        ('{"type": "run", "test": "t", "title": "t", "params": {}, "metrics": {}, "caveats": ["odd"]}', "caveat 'odd'"),
        ('{"type": "outcome", "test": "t", "title": "t", "outcome": "passed", "seconds": 1e999}', "1e999"),
        ('{"type": "outcome", "test": "t", "title": "t", "outcome": "passed", "seconds": NaN}', "NaN"),
        ('{"type": "run", "test": "t", "title": "t", "params": {}, "metrics": {"m": {"unit": "s", "better": "lower", '
         '"values": ["x"]}}}', "metrics.m.values.0"),
        ("[1, 2]", "unknown type None"),
    ],
)  # fmt: skip
def test_a_damaged_record_costs_only_itself(folder: RunFolder, line: str, told: str) -> None:
    folder.append(sample.session())
    with folder.records.open("a") as file:
        file.write(line + "\n")
    folder.append(sample.throughput(1, "sparse", [7.0]))
    folder.append(model.End(0, "now"))
    run = load(folder.path)
    assert (len(run.runs), run.complete, len(run.problems)) == (1, True, 1)
    assert told in run.problems[0]


def test_two_runs_in_one_file_are_told_apart(folder: RunFolder) -> None:
    for record in (sample.session("first"), model.End(0, "now"), sample.session("second"), model.End(3, "later")):
        folder.append(record)
    run = load(folder.path)
    assert (run.session.run_id, run.end and run.end.exit_status) == ("first", 0)
    assert "second run" in run.problems[0]


def test_a_missing_raw_file_is_listed(tmp_path: Path) -> None:
    path = sample.write_run(tmp_path)
    (path / "raw" / "fault_latency-ram-lzo-rle.npy").unlink()
    assert load(path).problems == (
        "fault_latency: the samples of fault.latency are missing: raw/fault_latency-ram-lzo-rle.npy",
    )


def test_a_raw_path_cannot_lead_out_of_the_run(folder: RunFolder, tmp_path: Path) -> None:
    np.save(tmp_path / "secret.npy", np.zeros(1, dtype=np.uint64))
    folder.append(sample.session())
    folder.append(model.RunResult("t", "t", {}, {}, raw={"m": "../secret.npy"}))
    run = load(folder.path)
    assert "outside" in run.problems[0]
    with pytest.raises(ReportError, match="outside"):
        run.samples(run.runs[0], "m")


def test_a_path_that_is_no_run_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="no such run"):
        load(tmp_path / "nothing")
    with pytest.raises(ReportError, match="not the folder of a run"):
        load(tmp_path)
    run = sample.write_run(tmp_path)
    with pytest.raises(ReportError) as caught:
        load(tmp_path)
    assert str(run) in caught.value.hint


STORED = Path(__file__).parent / "data" / "run-schema1"


def of_today(record: dict[str, Any]) -> dict[str, Any]:
    """A stored record of schema 1 as it is written today: without turns, and with the doubt that follows from that."""
    match record["type"]:
        case "session":
            doubts = [*record["caveats"], "samples_as_repeats"]
            return record | {"schema": model.SCHEMA, "caveats": doubts, "command": ""}
        case "run":
            params = record["params"]
            renamed = {"order": "sparse"} if params.get("order") == "random" else {}
            return record | {"turns": [], "params": params | renamed}
        case _:
            return record


def test_a_run_of_the_first_schema_is_read_whole(folder: RunFolder) -> None:
    run = load(STORED)
    assert (run.complete, run.problems, len(run.runs)) == (True, (), 17)
    for record in (run.session, *run.runs, *run.outcomes, run.end):
        assert record is not None
        folder.append(record)
    stored = (STORED / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in records_of(folder)] == [of_today(json.loads(line)) for line in stored]
    for result in run.runs:
        for metric, name in result.raw.items():
            again = folder.path / folder.save_raw(Path(name).stem, run.samples(result, metric))
            assert again.read_bytes() == (STORED / name).read_bytes()


@pytest.mark.parametrize(("schema", "told"), [(1, "synthetic_mixed"), (2, "mixed")])
def test_mixed_pages_of_the_first_schema_are_not_those_of_today(folder: RunFolder, schema: int, told: str) -> None:
    run = load(STORED)
    folder.append(run.session)
    folder.append(replace(run.runs[0], params={**run.runs[0].params, "pages": "mixed"}))
    first, *rest = records_of(folder)
    first = json.dumps(json.loads(first) | {"schema": schema, "caveats": []})
    (folder.path / "results.jsonl").write_text("\n".join([first, *rest, ""]), encoding="utf-8")
    assert [result.params["pages"] for result in load(folder.path).runs] == [told]


def test_the_order_that_was_called_random_is_read_as_sparse(folder: RunFolder) -> None:
    folder.append(load(STORED).session)
    folder.append(sample.throughput(32, "random", [50.0, 51.0]))
    assert [result.params["order"] for result in load(folder.path).runs] == ["sparse"]


def test_writing_a_run_starts_without_the_heavy_libraries() -> None:
    heavy = {"numpy", "scipy", "matplotlib", "pydantic", "jinja2"}
    code = f"import sys, records.writing, reports.render; print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_only_the_figures_of_some_tests_are_read_when_that_is_enough(produced_run: Path) -> None:
    whole, part = load(produced_run), load(produced_run, tests={"fault_latency"})
    assert part.runs == tuple(each for each in whole.runs if each.test == "fault_latency") != ()
    assert (part.session, part.outcomes, part.end, part.problems) == (
        whole.session, whole.outcomes, whole.end, whole.problems,
    )  # fmt: skip


def test_a_record_whose_test_is_no_name_is_left_out_when_some_tests_are_asked_for(tmp_path: Path) -> None:
    folder = sample.write_run(tmp_path)
    with (folder / "results.jsonl").open("a") as file:
        file.write('{"type": "run", "test": ["fault_latency"]}\n')
    assert any("run record is left out" in each for each in load(folder, tests={"fault_latency"}).problems)
