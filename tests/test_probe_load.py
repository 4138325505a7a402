"""The probe's background load, its watch on disks and its view of a file's extents, on this host."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from base.units import MIB
from tests.probe_process import Served, run, served
from tests.sanitized_probe import BUILDS, argv_of


@pytest.fixture(scope="module", params=BUILDS)
def argv(request: pytest.FixtureRequest) -> list[str]:
    return argv_of(request.param)


@pytest.fixture
def probe(argv: list[str]) -> Iterator[Served]:
    with served(argv) as serving:
        yield serving


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    try:
        os.close(os.open(tmp_path, os.O_TMPFILE | os.O_RDWR | os.O_DIRECT))
    except OSError:
        pytest.skip("this host's file system has no direct I/O; the phone's has")
    return tmp_path


def test_a_cpu_load_burns_cpu_time_until_it_is_stopped(probe: Served) -> None:
    probe.good("load-start kind=cpu threads=1 limit_s=30")
    assert probe.ask("load-start kind=cpu threads=1 limit_s=30")["errno"] == "EBUSY"
    time.sleep(0.2)  # sleep: the load runs meanwhile
    done = probe.good("load-stop")
    assert done["cpu_ns"] > 10_000_000
    assert (done["bytes"], done["ended_early"]) == (0, 0)
    assert not probe.ask("load-stop")["ok"]


def test_a_load_ends_by_itself_at_its_bounds(probe: Served, folder: Path) -> None:
    probe.good(
        f"load-start kind=sequential_write threads=1 limit_s=30 file={folder}/load size={MIB} bytes={4 * MIB} rate=0"
    )
    time.sleep(0.5)  # sleep: the load runs meanwhile
    done = probe.good("load-stop")
    assert (done["bytes"], done["operations"], done["ended_early"]) == (4 * MIB, 8, 1)
    assert (folder / "load").stat().st_size == MIB


def test_a_writing_load_keeps_its_rate(probe: Served, folder: Path) -> None:
    probe.good(f"load-start kind=sequential_write threads=1 limit_s=30 file={folder}/load size={MIB} bytes={64 * MIB} "
               f"rate={2 * MIB}")  # fmt: skip
    time.sleep(0.6)  # sleep: the load runs meanwhile
    done = probe.good("load-stop")
    # 1.2 MiB are due, and one write of 512 KiB may be on its way.
    assert 0 < done["bytes"] <= 3 * MIB
    assert done["ended_early"] == 0


def test_a_writing_load_can_be_stopped_at_once(probe: Served, folder: Path) -> None:
    """Its threads once divided by the number of threads, which was counted while they started already."""
    for _ in range(40):
        probe.good(f"load-start kind=sequential_write threads=1 limit_s=30 file={folder}/load size={MIB} bytes={MIB}")
        probe.good("load-stop")


def test_a_reading_load_reads_what_was_written_before(probe: Served, folder: Path) -> None:
    probe.good(f"load-start kind=random_read threads=2 limit_s=30 file={folder}/load size={MIB} bytes={64 * MIB}")
    time.sleep(0.2)  # sleep: the load runs meanwhile
    done = probe.good("load-stop")
    assert done["bytes"] == 4096 * done["operations"] > 0
    content = (folder / "load").read_bytes()
    assert (len(content), content.count(0) < MIB // 64) == (MIB, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("kind=cpu threads=0 limit_s=5", "threads=0"),
        ("kind=cpu threads=1 limit_s=0", "limit_s=0"),
        ("kind=random_read threads=1 limit_s=5 file=/x size=4096 bytes=9", "a multiple of"),
        ("kind=random_read threads=1 limit_s=5 file=/x size=524288", "needs bytes="),
        ("kind=random_read threads=1 limit_s=5 file=x size=524288 bytes=9", "expected an absolute path"),
        ("kind=tea threads=1 limit_s=5", "kind=tea"),
    ],
)
def test_a_load_without_bounds_is_refused(probe: Served, words: str, message: str) -> None:
    refused = probe.ask(f"load-start {words}")
    assert not refused["ok"]
    assert message in refused["error"]


def test_a_file_that_cannot_be_made_leaves_no_load_behind(probe: Served) -> None:
    refused = probe.ask("load-start kind=random_read threads=1 limit_s=5 file=/nowhere/load size=524288 bytes=9")
    assert (refused["ok"], refused["errno"]) == (False, "ENOENT")
    probe.good("load-start kind=cpu threads=1 limit_s=5")


def test_the_watch_counts_what_a_disk_did(argv: list[str], tmp_path: Path) -> None:
    disk = sorted(path.name for path in Path("/sys/block").iterdir())[0]
    attribute = tmp_path / "attribute"
    attribute.write_text("")
    _, reply = run(argv, "write-timed", f"path={attribute}", "value=1", f"disks={disk}", "sample=1")
    assert reply["ok"], reply
    assert reply["disks"][disk].keys() == {
        "reads", "writes", "writes_merged", "written_bytes", "time_in_queue_ms", "deepest", "samples"
    }  # fmt: skip
    assert attribute.read_text() == "1"


@pytest.mark.parametrize(("name", "message"), [("../x", "not the name of a disk"), ("nosuch", "nosuch/stat")])
def test_a_disk_that_is_none_is_refused_before_anything_is_written(
    argv: list[str], tmp_path: Path, name: str, message: str
) -> None:
    attribute = tmp_path / "attribute"
    attribute.write_text("0")
    status, reply = run(argv, "write-timed", f"path={attribute}", "value=1", f"disks={name}")
    assert (status, reply["ok"]) == (1, False)
    assert message in reply["error"]
    assert attribute.read_text() == "0"


def test_extents_cover_a_file(argv: list[str], folder: Path) -> None:
    file, out = folder / "file", folder / "extents"
    file.write_bytes(os.urandom(MIB))
    _, reply = run(argv, "extents", f"file={file}", f"out={out}")
    if reply.get("errno") == "EOPNOTSUPP":
        pytest.skip("this host's file system does not tell extents; the phone's does")
    extents = np.fromfile(out, dtype="<u8").reshape(-1, 3)
    assert len(extents) == reply["extents"] > 0
    assert int(extents[0, 0]) == 0
    assert int(extents[:, 2].sum()) == MIB


def test_the_control_is_timed_and_counters_only_rise(probe: Served, folder: Path) -> None:
    file = folder / "file"
    file.write_bytes(os.urandom(MIB))
    first, second = (probe.good(f"control file={file}") for _ in range(2))
    assert first["monotonic_ns"] + first["read_ns"] + first["cpu_ns"] <= second["monotonic_ns"]
    assert all(first[name] <= second[name] for name in ("busy_ns", "steal_ns", "own_ns"))
    assert second["own_ns"] - first["own_ns"] < second["took_ns"] + first["took_ns"]
    assert "read_ns" not in probe.good("control")


def test_kernel_workers_are_listed_and_nobody_else_is_reniced(probe: Served) -> None:
    listed = probe.good("kworkers")["pids"]
    names = {Path(f"/proc/{pid}/comm").read_text()[:9] for pid in listed if Path(f"/proc/{pid}").exists()}
    assert names <= {"kworker/u"}
    before = os.getpriority(os.PRIO_PROCESS, 0)
    assert probe.good(f"renice pids={os.getpid()} minus=19")["changed"] == 0
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    assert not probe.ask(f"renice pids={os.getpid()} minus=21")["ok"]
