"""The probe's synthetic apps on this host: processes that hold memory, are switched to, die, and never stay behind."""

from __future__ import annotations

import os
import re
import signal
import struct
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from base.deadline import Deadline, wait_until
from base.units import MIB
from tests.probe_process import Reply, Served, served
from tests.sanitized_probe import BUILDS, argv_of

PAGE = os.sysconf("SC_PAGE_SIZE")
HOT, WARM, COLD = 0, 1, 2
MADE = f"count=3 anonymous={2 * MIB} file_backed={MIB // 4} working_set={MIB} mix=z5,s5,c60@3,i30 seed=7 order=random"


@pytest.fixture(scope="module", params=BUILDS)
def argv(request: pytest.FixtureRequest) -> list[str]:
    return argv_of(request.param)


@pytest.fixture
def probe(argv: list[str]) -> Iterator[Served]:
    with served(argv) as serving:
        yield serving


@pytest.fixture
def apps(probe: Served, tmp_path: Path) -> Served:
    probe.good(f"apps-make {MADE} folder={tmp_path}")
    return probe


def switch(probe: Served, sequence: str, dwell_ms: int = 0) -> Reply:
    return probe.good(f"apps-switch sequence={sequence} dwell_ms={dwell_ms}")


def kinds(reply: Reply) -> list[int]:
    return [one[3] for one in reply["switches"]]


def children(probe: Served) -> list[int]:
    """In the order in which they were started."""
    return [
        int(pid) for pid in Path(f"/proc/{probe.process.pid}/task/{probe.process.pid}/children").read_text().split()
    ]


def runs(pid: int) -> bool:
    """False for one that is gone, or is only waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def expect_gone(pids: list[int]) -> None:
    assert pids
    wait_until("the apps end", lambda: not any(map(runs, pids)), Deadline.after(10))


def test_an_app_is_started_when_it_is_first_switched_to(apps: Served) -> None:
    assert children(apps) == []
    reply = switch(apps, "0,2,0,0")
    assert ([one[0] for one in reply["switches"]], kinds(reply)) == ([0, 2, 0, 0], [COLD, COLD, HOT, HOT])
    assert (reply["alive"], reply["deaths"]) == (2, [])
    began = [one[1] for one in reply["switches"]]
    ended = [one[1] + one[2] for one in reply["switches"]]
    # Latency of a cold start counts from the switch; the next switch begins after it.
    assert all(end <= begin for end, begin in zip(ended, began[1:], strict=False))
    assert reply["switches"][0][2] > reply["switches"][3][2]


def test_the_control_is_timed_with_each_switch_and_is_not_part_of_it(apps: Served) -> None:
    cold, hot = switch(apps, "0,0")["switches"]
    assert min(cold[9], hot[9]) > 0
    # It needs no memory of its own: nothing stays resident.
    (pid,) = children(apps)
    before = Path(f"/proc/{pid}/statm").read_text().split()[:2]
    switch(apps, "0")
    assert Path(f"/proc/{pid}/statm").read_text().split()[:2] == before


def test_an_app_is_a_process_of_its_own_with_its_memory(apps: Served) -> None:
    switch(apps, "1,0")
    pids = children(apps)
    assert [Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids] == ["zwb.app02", "zwb.app01"]
    for pid in pids:
        resident = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        assert resident and int(resident[1]) * 1024 >= 2 * MIB


def test_apps_are_ranked_as_android_ranks_them(apps: Served) -> None:
    switch(apps, "0,1,2")
    scores = [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in children(apps)]
    assert scores == [900, 700, 0]
    switch(apps, "0")
    scores = [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in children(apps)]
    assert scores == [0, 900, 700]


def test_a_killed_app_is_told_and_started_again(apps: Served) -> None:
    switch(apps, "0,1")
    victim = children(apps)[0]
    os.kill(victim, signal.SIGKILL)
    reply = switch(apps, "1,0,1", dwell_ms=1)
    assert kinds(reply) == [HOT, COLD, HOT]
    ((app, t_ns, pid, number),) = reply["deaths"]
    assert (app, pid, number) == (0, victim, signal.SIGKILL)
    assert t_ns <= reply["switches"][2][1]
    assert (reply["alive"], switch(apps, "0")["deaths"]) == (2, [])


def test_a_death_while_nobody_switches_is_seen_at_once(apps: Served) -> None:
    switch(apps, "0,1")
    os.kill(children(apps)[0], signal.SIGTERM)
    reply = switch(apps, "1", dwell_ms=300)
    assert [(death[0], death[3]) for death in reply["deaths"]] == [(0, signal.SIGTERM)]
    assert reply["alive"] == 1


def start_of_memory(pid: int) -> int:
    """Where an app's anonymous memory begins: what most of its pages say that have a header with their number."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    starts: Counter[int] = Counter()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for low, high in re.findall(r"^(\w+)-(\w+) rw-p 0+ 00:00 0\s*$", maps, re.M):
            for address in range(int(low, 16), min(int(high, 16), int(low, 16) + 4 * MIB), PAGE):
                memory.seek(address)
                magic, _, number = struct.unpack("<8sQQ", memory.read(24))
                if magic == b"zwbpage1":
                    starts[address - number * PAGE] += 1
    return starts.most_common(1)[0][0]


def test_a_changed_word_of_the_working_set_is_noticed(apps: Served) -> None:
    assert [one[8] for one in switch(apps, "0,0")["switches"]] == [0, 0]
    (pid,) = children(apps)
    start = start_of_memory(pid)
    with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
        for page in range(2 * MIB // PAGE):
            memory.seek(start + page * PAGE + 16)
            memory.write(b"\xaa" * 8)
    # All words of the working set, and the pages that are compared as a whole.
    assert switch(apps, "0")["switches"][0][8] == MIB // PAGE + 16


def test_the_file_of_the_apps_has_no_name(apps: Served, tmp_path: Path) -> None:
    switch(apps, "0")
    assert list(tmp_path.iterdir()) == []
    maps = Path(f"/proc/{children(apps)[0]}/maps").read_text()
    assert re.search(rf"r--s 0+ .*{re.escape(str(tmp_path))}/apps\.\d+ \(deleted\)", maps)


@pytest.mark.parametrize("end", ["hang up", "kill", "end"])
def test_no_app_outlives_its_probe(apps: Served, end: str) -> None:
    switch(apps, "0,1,2")
    pids = children(apps)
    if end == "hang up":
        apps.hang_up()
    elif end == "kill":
        apps.process.kill()
    else:
        assert apps.good("apps-end")["ended"] == 3
    expect_gone(pids)


def test_after_the_end_other_apps_can_be_made(apps: Served, tmp_path: Path) -> None:
    switch(apps, "0,1,2")
    assert apps.ask(f"apps-make {MADE} folder={tmp_path}")["errno"] == "EEXIST"
    apps.good("apps-end")
    assert "there are 0" in apps.ask("apps-switch sequence=0 dwell_ms=0")["error"]
    apps.good(f"apps-make {MADE} folder={tmp_path}")
    assert kinds(switch(apps, "2")) == [COLD]


def test_the_dwell_time_is_kept(apps: Served) -> None:
    reply = switch(apps, "0,0,0", dwell_ms=50)
    began = [one[1] for one in reply["switches"]]
    assert all(later - earlier >= 50_000_000 for earlier, later in pairwise(began))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("count=0", "count=0: expected 1 to 64"),
        ("count=65", "count=65: expected 1 to 64"),
        (f"working_set={3 * MIB}", "working_set: expected a page at least, and not more than anonymous"),
        ("working_set=1", "working_set: expected a page at least"),
        ("mix=i90", "mix=i90"),
        (f"anonymous={2**64 - 1}", "more memory than a process"),
    ],
)
def test_apps_that_cannot_be_are_refused(probe: Served, tmp_path: Path, change: str, error: str) -> None:
    words = {word.partition("=")[0]: word for word in [*MADE.split(), change]}
    reply = probe.ask(f"apps-make {' '.join(words.values())} folder={tmp_path}")
    assert (reply["ok"], error in reply["error"]) == (False, True), reply
    assert "there are 0" in probe.ask("apps-switch sequence=0 dwell_ms=0")["error"]


def test_a_file_that_cannot_be_made_is_an_error_and_no_app(probe: Served, tmp_path: Path) -> None:
    assert probe.ask(f"apps-make {MADE} folder={tmp_path}/gone")["errno"] == "ENOENT"
    assert "there are 0" in probe.ask("apps-switch sequence=0 dwell_ms=0")["error"]


@pytest.mark.parametrize("sequence", ["3", "0,3", "-1", "0,", ",0", "0;1", "x", ",".join("0" * 65)])
def test_a_sequence_that_is_none_is_refused_before_anything_is_started(apps: Served, sequence: str) -> None:
    assert apps.ask(f"apps-switch sequence={sequence} dwell_ms=0")["ok"] is False
    assert children(apps) == []


REFUSED = [
    ("sample-stop out=/x", "sample-stop: the sampler does not run"),
    ("daemon-stop out=/x", "daemon-stop: the daemon does not run"),
    ("daemon-front pid=0", "daemon-front: pid=0: not one"),
    ("sample-start zram=0 interval_ms=1 duration_s=5", "expected 10 to 60000"),
    ("sample-start zram=0 interval_ms=10 duration_s=99999999", "more than 1048576 samples"),
    ("sample-start zram=9999 interval_ms=10 duration_s=5", "/sys/block/zram9999/mm_stat"),
    ("daemon-start zram=9999 trigger=idle limit_4k=10", "/sys/block/zram9999/bd_stat"),
    ("daemon-start zram=9999 trigger=idle limit_4k=0", "limit_4k=0: less than a page"),
    ("daemon-start zram=9999 trigger=idle limit_4k=10 age_s=0", "out of range"),
    ("daemon-start zram=9999 trigger=never limit_4k=10", "expected idle|background|periodic"),
]


@pytest.mark.parametrize(("line", "error"), REFUSED)
def test_what_cannot_be_watched_is_refused(probe: Served, line: str, error: str) -> None:
    reply = probe.ask(line)
    assert (reply["ok"], error in reply["error"]) == (False, True), reply
    assert probe.good("daemon-pause")["ok"]
