"""Block events that a run keeps, and what other tools are given of them: read back, they have the same counts."""

from __future__ import annotations

import gzip
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from base.errors import EXIT_USAGE, ReportError
from commands.report import main
from records import metrics as m
from records import tests as t
from records.block_events import parse_events, read_trace
from records.reading import StoredRun, load
from reports.event_export import export_events, to_blkparse, to_iolog
from tests.produced_run import BATCHES, DATA, of, produced

RECORDED = Path(__file__).parent / "data" / "block-events-7.3.txt"
# By the manuals of blkparse (default output) and of fio (trace file format, version 3).
BLKPARSE = re.compile(r" *(\d+),(\d+) +\d+ +\d+ +(\d+\.\d{9}) +\d+ +([DC]) +(\w+) (\d+) \+ (\d+) \[(.*)\]")
IOLOG = re.compile(r"(\d+) (/dev/\w+) (read|write|trim|add|open|close)(?: (\d+) (\d+))?")


def iolog(text: str) -> list[tuple[int, str, str, int, int]]:
    head, *lines = text.splitlines()
    assert head == "fio version 3 iolog"
    found = []
    for line in lines:
        match = IOLOG.fullmatch(line)
        assert match, line
        assert (match[4] is None) == (match[3] in ("add", "open", "close"))
        found.append((int(match[1]), match[2], match[3], int(match[4] or 0), int(match[5] or 0)))
    return found


@pytest.mark.parametrize(("disk", "name"), [("7:0", "loop0"), ("8:0", "sda")])
def test_both_formats_read_back_with_the_counts_of_the_events(disk: str, name: str) -> None:
    events = [event for event in parse_events(RECORDED.read_text()) if event.disk == disk]
    lines = [BLKPARSE.fullmatch(line) for line in to_blkparse(events, name).splitlines()]
    told = [match for match in lines if match]
    assert len(told) == len(events) == len(lines)
    assert Counter(match[4] for match in told) == {
        "D": sum(e.issue for e in events), "C": sum(not e.issue for e in events)
    }  # fmt: skip
    assert [int(match[6]) for match in told] == [event.sector for event in events]
    assert (told[0][3], told[0][8]) == ("0.000000000", events[0].tail)
    times = [float(match[3]) for match in told]
    assert times == sorted(times)
    assert times[-1] == pytest.approx((events[-1].ns - events[0].ns) / 1e9)

    (_, *rest) = entries = iolog(to_iolog(events, name))
    assert [entry[2] for entry in (entries[0], rest[0], rest[-1])] == ["add", "open", "close"]
    issued = [event for event in events if event.issue and (event.write or event.read)]
    requests = rest[1:-1]
    assert [(offset, length) for *_, offset, length in requests] == [(e.sector * 512, e.sectors * 512) for e in issued]
    assert Counter(action for _, _, action, *_ in requests) == Counter("write" if e.write else "read" for e in issued)
    assert {file for _, file, *_ in entries} == {f"/dev/{name}"}


def test_a_requeued_request_is_replayed_once_and_a_discard_is_a_trim() -> None:
    first = parse_events(RECORDED.read_text())[0]
    line = "  x-1  [000] .....  {}.000000: block_rq_{}: 8,0 {} () {} + {} be,0,4 [x]\n"
    text = "".join(
        line.format(*each)
        for each in (
            (1, "issue", "W", 8, 8), (2, "issue", "W", 8, 8), (3, "complete", "W", 8, 8), (4, "issue", "W", 8, 8),
            (5, "issue", "DS", 64, 16), (6, "issue", "FF", 0, 0),
        )
    )  # fmt: skip
    entries = iolog(to_iolog(parse_events(text), "sda"))
    assert entries[2:-1] == [
        (0, "/dev/sda", "write", 4096, 4096), (3_000_000, "/dev/sda", "write", 4096, 4096),
        (4_000_000, "/dev/sda", "trim", 32768, 8192),
    ]  # fmt: skip
    assert first.issue


@pytest.fixture
def run(produced_run: Path) -> StoredRun:
    return load(produced_run)


def test_a_run_keeps_the_events_of_each_turn(run: StoredRun) -> None:
    for batch in BATCHES:
        loop = produced(run, t.DEPTH, batch_size=batch, layer="loop", pages="incompressible")
        assert len(loop.facts["events"]) == len(loop.turns)
        assert loop.facts["events_left_out"] == 0
        for name in loop.facts["events"]:
            events = [event for event in parse_events(read_trace(run.folder, name)) if event.disk == "7:0"]
            assert sum(event.issue and event.write for event in events) == DATA // 4096
    assert all(
        0 < (run.folder / name).stat().st_size < 1 << 20 for each in of(run, t.DEPTH) for name in each.facts["events"]
    )


@pytest.mark.parametrize("form", ["blkparse", "iolog"])
def test_the_command_writes_a_file_for_each_turn_and_device(
    run: StoredRun, tmp_path: Path, capfd: pytest.CaptureFixture[str], form: str
) -> None:
    folder = shutil.copytree(run.folder, tmp_path / "run")
    assert main([str(folder), "--events", form]) == 0
    turns = {name for result in of(run, t.DEPTH) for name in result.facts["events"]}
    files = sorted((folder / "events").iterdir())
    assert capfd.readouterr().out == f"{len(files)} files: {folder / 'events'}\n"
    assert len(files) == 2 * len(turns)
    assert {file.suffix for file in files} == {f".{form}"}
    if form == "iolog":
        writes = sum(
            action == "write" for file in files if "loop0" in file.name for _, _, action, *_ in iolog(file.read_text())
        )
        assert writes == len(turns) * DATA // 4096


def test_a_run_without_events_says_which_test_keeps_them(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stored = Path(__file__).parent / "data" / "run-schema1"
    assert main([str(stored), "--events", "iolog"]) == EXIT_USAGE
    assert "no block events were kept" in capfd.readouterr().err
    assert not (stored / "events").exists()


@pytest.mark.parametrize("content", [b"", b"no gzip", gzip.compress(b"x" * 4096)[:-9]], ids=["empty", "other", "cut"])
def test_events_that_cannot_be_read_are_an_error_with_their_name(
    run: StoredRun, tmp_path: Path, content: bytes
) -> None:
    folder = shutil.copytree(run.folder, tmp_path / "run")
    name = of(run, t.DEPTH)[0].facts["events"][0]
    (folder / name).write_bytes(content)
    if content:
        with pytest.raises(ReportError, match=name):
            export_events(folder, "iolog")
    else:
        assert read_trace(folder, name) == ""


def test_pages_and_idle_time_of_the_disk_are_told(run: StoredRun) -> None:
    for result in of(run, t.DEPTH):
        requests, pages = (result.metrics[row.name].values for row in (m.IN_FLIGHT_MEAN, m.IN_FLIGHT_PAGES))
        # The fake's requests have one page each.
        assert pages == pytest.approx(requests)
        idle = result.metrics[m.IDLE.name].values
        assert sum(idle) / len(idle) == pytest.approx(100 * result.facts["time_at_depth"].get("0", 0), abs=0.01)
        assert sum(result.facts["sector_steps"].values()) == pytest.approx(1, abs=1e-4)
