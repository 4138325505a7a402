"""Depth and latency from block events. The samples were recorded on the virtual phone, with the kernels in their names:
12 pages written back (batch 4 on 7.3; 6.12 knows one at a time), then read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from records.block_events import Event, parse_events
from workloads.blockevents import STEPS, requests, served_by, step_of, write_depth

DATA = Path(__file__).parent / "data"
LOOP, DISK = "7:0", "8:0"
# The backing file's first block lies at this sector of the disk; it is in one piece.
FILE_AT = 4227072


def recorded(kernel: str) -> list[Event]:
    return parse_events((DATA / f"block-events-{kernel}.txt").read_text())


def event(ns: int, what: str, sector: int, *, disk: str = LOOP, flags: str = "W") -> Event:
    return Event(ns, what == "issue", disk, flags, sector, 8, 1)


@pytest.mark.parametrize(("kernel", "deepest", "flags"), [("7.3", 4, "W"), ("6.12", 1, "WS")])
def test_depth_and_flags_tell_which_path_a_kernel_took(kernel: str, deepest: int, flags: str) -> None:
    depth = write_depth(recorded(kernel), LOOP)
    assert depth is not None
    assert (depth.max, set(depth.flags)) == (deepest, {flags})
    assert depth.requests == sum(1 for e in recorded(kernel) if e.disk == LOOP and e.issue and e.write)
    assert sum(depth.share_at.values()) == pytest.approx(1)


def test_depth_is_weighted_by_time() -> None:
    events = [
        event(0, "issue", 8), event(100, "issue", 16), event(300, "complete", 8), event(400, "complete", 16),
    ]  # fmt: skip
    depth = write_depth(events, LOOP)
    assert depth is not None
    assert dict(depth.share_at) == {1: 0.5, 2: 0.5}
    assert (depth.mean, depth.max, depth.requests) == (1.5, 2, 2)


def test_a_requeued_request_counts_once_and_one_from_before_not_at_all() -> None:
    events = [
        event(0, "complete", 99), event(10, "issue", 8), event(20, "issue", 8), event(30, "complete", 8),
        event(40, "issue", 16), event(50, "complete", 16),
    ]  # fmt: skip
    depth = write_depth(events, LOOP)
    assert depth is not None
    assert (depth.max, depth.requests) == (1, 2)


def test_reads_discards_flushes_and_other_disks_are_no_depth() -> None:
    others = [event(0, "issue", 8, flags="R"), event(1, "issue", 16, flags="DS"), event(2, "issue", 24, disk=DISK)]
    flush = Event(3, True, LOOP, "FF", 0, 0, 1)
    assert write_depth([*others, flush], LOOP) is None


def test_each_write_at_the_loop_device_is_found_at_the_disk() -> None:
    events = recorded("7.3")
    above, below = requests(events, LOOP, reads=False), requests(events, DISK, reads=False)
    pairs = served_by(above, below, lambda sector: sector + FILE_AT)
    assert len(pairs) == len(above) > 4
    for upper, lower in pairs:
        assert lower.sector == upper.sector + FILE_AT
        assert upper.issued_ns <= lower.issued_ns < lower.completed_ns <= upper.completed_ns


def test_a_request_at_a_wrong_place_or_time_serves_nobody() -> None:
    above = requests([event(100, "issue", 8), event(200, "complete", 8)], LOOP, reads=False)
    elsewhere = [event(120, "issue", 64, disk=DISK), event(150, "complete", 64, disk=DISK)]
    too_late = [event(120, "issue", 8, disk=DISK), event(250, "complete", 8, disk=DISK)]
    for events in (elsewhere, too_late):
        assert served_by(above, requests(events, DISK, reads=False), lambda sector: sector) == []
    assert served_by(above, requests(too_late, DISK, reads=False), lambda sector: None) == []


def test_the_older_form_without_io_priority_is_understood() -> None:
    text = (
        "   kworker/u16:3-2211  [004] ..... 12345.678901: block_rq_issue: 259,12 WS 4096 () 2048 + 8 [kworker/u16:3]\n"
        "          <idle>-0     [000] ..s1. 12345.679000: block_rq_complete: 259,12 WS () 2048 + 8 [0]\n"
    )
    first, second = parse_events(text)
    assert (first.disk, first.flags, first.sector, first.tid, first.issue) == ("259:12", "WS", 2048, 2211, True)
    assert second.ns - first.ns == 99_000


@pytest.mark.parametrize(
    ("sectors", "name"),
    [(-8, "back"), (0, "0"), (1, "1"), (8, "1"), (15 * 8, "1"), (16 * 8, "16"), (256 * 8, "256"), (1 << 30, "4096")],
)
def test_distances_are_told_by_the_name_of_their_least(sectors: int, name: str) -> None:
    assert step_of(sectors) == name
    assert name in STEPS


def test_pages_in_flight_distances_and_idle_time_follow_from_the_requests() -> None:
    """Two pages in one request for 100 ns, nothing for 100, one page 16 pages further on for 200."""
    double = Event(0, True, LOOP, "W", 0, 16, 1)
    events = [double, event(100, "complete", 0), event(200, "issue", 16 + 128), event(400, "complete", 16 + 128)]
    depth = write_depth(events, LOOP)
    assert depth is not None
    assert (depth.mean, depth.pages_mean, depth.idle_percent) == (0.75, 1.0, 25)
    assert depth.steps == {"16": 1}
