"""The probe's protocol, its memory and its life, on this host: everything that needs no zram."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.probe_process import SECONDS, Served, run, served
from tests.sanitized_probe import BUILDS, argv_of

PAGE = os.sysconf("SC_PAGE_SIZE")
MIX = "z5,s5,c60@3,i30"
SAMPLE = np.dtype([("t_ns", "<u8"), ("ns", "<u8"), ("page", "<u4"), ("label", "<u2"), ("ahead", "<u2")])
NOT_SWAPPED = 2**64 - 1


@pytest.fixture(scope="module", params=BUILDS)
def argv(request: pytest.FixtureRequest) -> list[str]:
    return argv_of(request.param)


@pytest.fixture
def probe(argv: list[str]) -> Iterator[Served]:
    with served(argv) as serving:
        yield serving


@pytest.fixture
def shipped() -> Iterator[Served]:
    """For what is measured: a sanitizer takes time, and its memory faults too."""
    with served(argv_of("as shipped")) as serving:
        yield serving


def fill(probe: Served, name: str, pages: int, *, mix: str = MIX, seed: int = 7) -> dict[str, int]:
    return probe.good(f"fill name={name} bytes={pages * PAGE} mix={mix} seed={seed}")


def test_hello_tells_who_and_when(argv: list[str]) -> None:
    before = time.monotonic_ns(), time.time_ns()
    status, hello = run(argv, "hello")
    after = time.monotonic_ns(), time.time_ns()
    assert status == 0
    assert (hello["ok"], hello["protocol"], hello["arch"], hello["page_size"]) == (True, 1, "x86_64", PAGE)
    assert before[0] < hello["monotonic_ns"] < after[0]
    assert before[1] < hello["realtime_ns"] < after[1]


def test_served_and_single_commands_answer_alike(argv: list[str], probe: Served) -> None:
    _, single = run(argv, "hello")
    several = probe.good("hello")
    assert single.keys() == several.keys()
    assert several["pid"] == probe.process.pid


REFUSED = [
    ("bogus", "bogus: unknown command"),
    ("hello x", "hello: x: not of the form key=value"),
    ("hello =1", "hello: =1: not of the form key=value"),
    ("hello colour=red", "hello: colour: unknown key"),
    ("overhead", "overhead: samples: missing key"),
    ("overhead samples=10 samples=20", "overhead: samples: given twice"),
    ("overhead samples=", "overhead: samples=: expected a whole decimal number"),
    ("overhead samples=-1", "overhead: samples=-1: expected a whole decimal number"),
    ("overhead samples=0x10", "overhead: samples=0x10: expected a whole decimal number"),
    (
        "overhead samples=18446744073709551616",
        "overhead: samples=18446744073709551616: expected a whole decimal number",
    ),
    ("overhead samples=1", "overhead: samples=1: expected 2 to 1000000"),
    ("fill mix=i100 seed=1", "fill: missing key: name= or path="),
    ("fill name=a", "fill: bytes: missing key"),
    ("fill name= bytes=4096 mix=i100 seed=1", "fill: name: empty"),
    ("fill name=a path=/dev/null", "fill: path: unknown key"),
    ("drop name=nobody", "drop: name=nobody: there is no such area"),
    ("touch name=a order=sideways seed=1 out=/x", "touch: order=sideways: expected random|sequential"),
    ("loop-detach file=/x remove=2", "loop-detach: remove=2: expected 0|1"),
    ('hello "=\t', 'hello: "=: unknown key'),
]


@pytest.mark.parametrize(("line", "error"), REFUSED)
def test_bad_grammar_is_named(probe: Served, line: str, error: str) -> None:
    reply = probe.ask(line)
    assert (reply["ok"], reply["errno"], reply["error"]) == (False, "", error.replace('"=:', '":'))
    assert probe.good("hello")["protocol"] == 1


def test_single_command_that_fails_exits_with_1(argv: list[str]) -> None:
    status, reply = run(argv, "drop", "name=nobody")
    assert (status, reply["ok"]) == (1, False)
    status, reply = run(argv)
    assert (status, reply["error"]) == (1, "empty command")


@pytest.mark.parametrize("line", ["", "x" * 5000, "hello " + "k=v " * 40])
def test_odd_lines_are_answered_too(probe: Served, line: str) -> None:
    assert probe.ask(line)["ok"] is False
    assert probe.good("hello")["protocol"] == 1


def test_every_line_gets_its_answer_in_order(probe: Served) -> None:
    for samples in range(2, 52):
        probe.send(f"overhead samples={samples}")
    assert [probe.ask("hello").get("samples") for _ in range(50)] == list(range(2, 52))


BAD_MIXES = [
    "i90",
    "i101",
    "z50,i51",
    "c100@1",
    "c100@1.2",
    "c100@21",
    "c100@",
    "q100",
    "i100,",
    ",i100",
    "i",
    "100",
    "i100x",
]


@pytest.mark.parametrize("mix", BAD_MIXES)
def test_bad_mix_is_refused_and_leaves_no_area(probe: Served, mix: str) -> None:
    reply = probe.ask(f"fill name=a bytes={PAGE} mix={mix} seed=1")
    assert (reply["ok"], f"mix={mix}" in reply["error"]) == (False, True)
    assert "no such area" in probe.ask("drop name=a")["error"]


@pytest.mark.parametrize(
    ("mix", "shares"),
    [(MIX, (0.05, 0.05, 0.60, 0.30, 0, 0)), ("z0.5,s0.7,c10.3,i8.5,h75,f5", (0.005, 0.007, 0.103, 0.085, 0.75, 0.05))],
)
def test_mix_is_kept_and_counted(probe: Served, mix: str, shares: Sequence[float]) -> None:
    reply = fill(probe, "a", 10000, mix=mix)
    kinds = [reply[kind] for kind in ("zero", "same", "compressible", "incompressible", "heap", "file")]
    assert sum(kinds) == reply["pages"] == 10000
    # Five standard deviations of a binomial distribution.
    for count, share in zip(kinds, shares, strict=True):
        assert abs(count / 10000 - share) <= 5 * (share * (1 - share) / 10000) ** 0.5


def test_verify_finds_nothing_in_good_memory_and_every_flipped_byte(probe: Served) -> None:
    fill(probe, "a", 500)
    assert probe.good("verify name=a")["corrupt"] == 0
    for page in (499, 3, 250):
        probe.good(f"corrupt name=a page={page}")
    reply = probe.good("verify name=a")
    assert (reply["pages"], reply["corrupt"], reply["first_corrupt"]) == (500, 3, [3, 250, 499])
    probe.good("corrupt name=a page=3")
    assert probe.good("verify name=a")["corrupt"] == 2


def test_verify_lists_the_first_eight_and_counts_all(probe: Served) -> None:
    fill(probe, "a", 100)
    for page in range(20, 40):
        probe.good(f"corrupt name=a page={page}")
    reply = probe.good("verify name=a")
    assert (reply["corrupt"], reply["first_corrupt"]) == (20, list(range(20, 28)))


@pytest.mark.parametrize("mix", ["z100", "s100", "c100@3", "i100", "h100", "f100"])
def test_a_flipped_byte_is_found_in_every_kind_of_page(probe: Served, mix: str) -> None:
    fill(probe, "a", 3, mix=mix)
    probe.good("corrupt name=a page=1")
    assert probe.good("verify name=a")["first_corrupt"] == [1]


def test_areas_have_names_of_their_own(probe: Served) -> None:
    fill(probe, "a", 10)
    fill(probe, "b", 20)
    reply = probe.ask(f"fill name=a bytes={PAGE} mix=i100 seed=1")
    assert (reply["ok"], reply["errno"]) == (False, "EEXIST")
    probe.good("drop name=a")
    assert [probe.ask(f"verify name={name}").get("pages") for name in "ab"] == [None, 20]
    assert fill(probe, "a", 5)["pages"] == 5


def test_more_memory_than_there_is_is_refused_beforehand(probe: Served) -> None:
    reply = probe.ask(f"fill name=a bytes={PAGE * 2**31} mix=i100 seed=1")
    assert (reply["ok"], reply["errno"]) == (False, "ENOMEM")
    assert probe.ask(f"fill name=a bytes={PAGE + 1} mix=i100 seed=1")["ok"] is False
    assert fill(probe, "a", 1)["pages"] == 1


@pytest.mark.parametrize(("order", "pages"), [("random", 300), ("sequential", 300), ("random", 50), ("sequential", 50)])
def test_touch_records_every_page_once(probe: Served, tmp_path: Path, order: str, pages: int) -> None:
    fill(probe, "a", 300)
    before = time.monotonic_ns()
    reply = probe.good(f"touch name=a order={order} seed=5 pages={pages} out={tmp_path / 't'}")
    after = time.monotonic_ns()
    samples = np.fromfile(tmp_path / "t", SAMPLE)
    assert (len(samples), reply["samples"], reply["not_swapped"]) == (pages, pages, pages)
    touched = samples["page"].tolist()
    assert len(set(touched)) == pages
    assert (touched == list(range(pages))) == (order == "sequential")
    assert set(touched) <= set(range(300))
    assert samples["label"].tolist() == [0] * pages
    assert before < samples["t_ns"][0] and samples["t_ns"][-1] + samples["ns"][-1] < after
    # One touch ends before the next begins.
    assert (samples["t_ns"][1:] >= (samples["t_ns"] + samples["ns"])[:-1]).all()


def test_touching_resident_pages_faults_nowhere(shipped: Served, tmp_path: Path) -> None:
    """Else the probe's own faults would stand in the samples."""
    fill(shipped, "a", 2000)
    reply = shipped.good(f"touch name=a order=random seed=5 out={tmp_path / 't'}")
    assert (reply["majflt"], reply["minflt"]) == (0, 0)


def test_random_order_depends_on_the_seed_only(probe: Served, tmp_path: Path) -> None:
    fill(probe, "a", 300)
    orders = []
    for number, seed in enumerate([1, 1, 2]):
        probe.good(f"touch name=a order=random seed={seed} out={tmp_path / str(number)}")
        orders.append(np.fromfile(tmp_path / str(number), SAMPLE)["page"].tolist())
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_result_file_that_cannot_be_written_is_an_error(probe: Served, tmp_path: Path) -> None:
    fill(probe, "a", 10)
    reply = probe.ask(f"touch name=a order=random seed=5 out={tmp_path}/no/such/folder")
    assert (reply["ok"], reply["errno"]) == (False, "ENOENT")


def test_only_a_regular_file_is_removed_when_it_cannot_be_written(probe: Served, tmp_path: Path) -> None:
    fill(probe, "a", 10)
    link = tmp_path / "full"
    link.symlink_to("/dev/full")
    reply = probe.ask(f"touch name=a order=random seed=5 out={link}")
    assert (reply["ok"], reply["errno"]) == (False, "ENOSPC")
    assert link.is_symlink()


def test_slots_of_resident_memory_are_none(probe: Served, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("the kernel shows slots to root only")
    fill(probe, "a", 10)
    reply = probe.good(f"slots name=a out={tmp_path / 'slots'}")
    assert (reply["pages"], reply["swapped"], reply["swap_types"], reply["lo"]) == (10, 0, [], None)
    assert np.fromfile(tmp_path / "slots", "<u8").tolist() == [NOT_SWAPPED] * 10


def test_overhead_is_ordered_and_small(shipped: Served) -> None:
    reply = shipped.good("overhead samples=5000")
    for name in ("timer_ns", "resident_ns", "sample_ns"):
        assert 0 <= reply[name]["min"] <= reply[name]["p50"] <= reply[name]["p99"] <= reply[name]["max"]
    assert reply["timer_ns"]["p50"] <= reply["resident_ns"]["p50"] <= reply["sample_ns"]["p50"] < 100_000


def test_write_timed_writes_once_and_tells_the_kernels_answer(argv: list[str], tmp_path: Path) -> None:
    file = tmp_path / "attribute"
    file.touch()
    _, reply = run(argv, "write-timed", f"path={file}", "value=page_indexes=0-9")
    assert (reply["ok"], reply["rc"], reply["errno"]) == (True, 16, "")
    assert file.read_text() == "page_indexes=0-9"
    _, reply = run(argv, "write-timed", "path=/dev/full", "value=1")
    assert (reply["ok"], reply["rc"], reply["errno"]) == (True, -1, "ENOSPC")
    assert reply["wall_ns"] > 0
    status, reply = run(argv, "write-timed", f"path={tmp_path}/none", "value=1")
    assert (status, reply["errno"]) == (1, "ENOENT")


@pytest.mark.parametrize("value", ["4097", "1000000", "0x1001", "99999999999999999999", "-1"])
def test_batch_size_that_may_kill_a_phone_is_never_written(argv: list[str], tmp_path: Path, value: str) -> None:
    attribute = tmp_path / "writeback_batch_size"
    attribute.write_text("untouched")
    link = tmp_path / "other_name"
    link.symlink_to(attribute)
    for path in (attribute, link):
        status, reply = run(argv, "write-timed", f"path={path}", f"value={value}")
        assert (status, "refused" in reply["error"]) == (1, True)
    assert attribute.read_text() == "untouched"
    status, _ = run(argv, "write-timed", f"path={attribute}", "value=4096")
    assert status == 0


def test_serving_ends_with_stdin_even_in_the_middle_of_a_command(probe: Served) -> None:
    probe.send("overhead samples=1000000")
    probe.send("overhead samples=1000000")
    probe.send(f"fill name=a bytes={256 << 20} mix=i100 seed=1")
    started = time.monotonic()
    probe.hang_up()
    assert probe.process.wait(SECONDS) == 0
    assert time.monotonic() - started < 0.5


def test_serving_ends_with_its_alarm(argv: list[str]) -> None:
    started = time.monotonic()
    with subprocess.Popen([*argv, "serve", "alarm=1"], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.wait(SECONDS) == 3
        assert process.stderr
        assert process.stderr.read() == b"probe: the alarm ran out\n"
    assert 0.9 < time.monotonic() - started < 5


@pytest.mark.parametrize("alarm", ["alarm=0", "alarm=99999999", "alarm=soon", "other=1"])
def test_serving_needs_an_alarm(argv: list[str], alarm: str) -> None:
    status, reply = run(argv, "serve", alarm)
    assert (status, reply["ok"], reply["error"].startswith("serve: ")) == (1, False, True)


def test_single_command_ends_with_its_parent(argv: list[str], tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # Opening the other end of a fifo that nobody reads waits for ever: a command that hangs.
    script = f"{argv[0]} write-timed path={fifo} value=1 & echo $!; wait"
    parent = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = int(parent.stdout.readline())
    with parent:
        time.sleep(0.2)  # sleep: the command must be under way when the connection ends
        assert Path(f"/proc/{child}/comm").read_text() == "probe\n"
        os.kill(parent.pid, signal.SIGKILL)
        assert parent.stdout.read() == ""  # its end: the last process that holds it is gone
