"""The probe's answers are types: nonsense is named, and what the real probe says is what Python expects."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from base.deadline import Deadline
from base.errors import DeviceError, LabError
from devices.counters import MmStat
from devices.fake.phone import FakePhone
from devices.probe import app_replies, hammering, mapped, replies
from devices.probe.build import SOURCES, build
from devices.probe.control import Control
from devices.probe.decode import ReplyNotUnderstood, read_reply
from devices.probe.session import ProbeFailed, ProbeSession
from tests.probe_process import Served, served

PAGE = os.sysconf("SC_PAGE_SIZE")
MIX = "z5,s5,c60@3,i30"


class Says:
    """A probe that answers whatever it is asked with the same line."""

    def __init__(self, line: str) -> None:
        self.line = line

    def request(self, line: str, *, deadline: Deadline) -> str:
        return self.line

    def close(self) -> None:
        pass


def session_that_says(line: str) -> ProbeSession:
    return ProbeSession(FakePhone(serial="PHONE1"), Says(line))


def answer(**changes: object) -> str:
    """An answer to pageout; a change to None takes a field away."""
    fields = {"ok": True, "pages": 3, "swapped": 2, "tries": 1, "wall_ns": 7, "took_ns": 9} | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None})


def test_an_answer_is_read_field_by_field_and_its_time_is_the_phones() -> None:
    phone = FakePhone()
    reply = ProbeSession(phone, Says(answer(took_ns=2_000_000_000))).pageout("a")
    assert reply == replies.PagedOut(pages=3, swapped=2, tries=1, wall_ns=7)
    # More than the host waited for it.
    assert (phone.wire.on_phone_s, phone.wire.doubted) == (0.0, 1)
    ProbeSession(phone, Says(answer(took_ns=20_000))).pageout("a")
    assert phone.wire.on_phone_s > 0


NOT_AN_ANSWER = [
    ("", "the answer is not JSON: ''"),
    ("Segmentation fault", "the answer is not JSON: 'Segmentation fault'"),
    ('{"ok":true,"pages":3', 'the answer is not JSON: \'{"ok":true'),
    ('{"ok":true,"ok":true}', "the answer is not JSON"),
    ("[" * 100_000, "the answer is not JSON"),
    ("\x1b[31mred\x00", "the answer is not JSON: '\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}'"),
    ("[1, 2]", "the answer is not a JSON object: '[1, 2]'"),
    ("null", "the answer is not a JSON object"),
    ('{"pages":3}', "the answer does not say whether it is ok"),
    ('{"ok":1}', "the answer does not say whether it is ok"),
    (answer(took_ns=None), "took_ns: missing field"),
    (answer(took_ns=-1), "took_ns: expected a whole number"),
    ('{"ok":false,"errno":""}', "error: missing field"),
    ('{"ok":false,"error":"no"}', "errno: missing field"),
    ('{"ok":false,"errno":5,"error":"no"}', "errno: expected text, read '5'"),
]


@pytest.mark.parametrize(("line", "says"), NOT_AN_ANSWER)
def test_what_is_no_answer_is_told_with_what_was_read(line: str, says: str) -> None:
    with pytest.raises(DeviceError) as caught:
        session_that_says(line).pageout("a")
    assert str(caught.value).startswith("PHONE1: probe pageout: ")
    assert says in str(caught.value)
    assert isinstance(caught.value, LabError)
    assert caught.value.hint


def test_no_more_than_200_characters_of_nonsense_are_quoted() -> None:
    with pytest.raises(ReplyNotUnderstood, match=f"'{'x' * 200}'[.]{{3}}$"):
        session_that_says("x" * 5000).pageout("a")


WRONG_FIELDS = [
    (answer(swapped=None), "swapped: missing field"),
    (answer(swaped=2), "swaped: unknown field"),
    (answer(pages="3"), "pages: expected a whole number from 0 to 18446744073709551615, read '\"3\"'"),
    (answer(pages=3.0), "pages: expected a whole number"),
    (answer(pages=True), "pages: expected a whole number"),
    (answer(pages=-1), "pages: expected a whole number"),
    (answer(pages=1 << 64), "pages: expected a whole number"),
    (answer(pages=[3]), "pages: expected a whole number"),
]


@pytest.mark.parametrize(("line", "says"), WRONG_FIELDS)
def test_a_field_that_is_wrong_is_named_with_its_command(line: str, says: str) -> None:
    with pytest.raises(ReplyNotUnderstood, match=f"^PHONE1: probe pageout: {re.escape(says)}"):
        session_that_says(line).pageout("a")


def written(**changes: object) -> str:
    fields: dict[str, object] = {
        "ok": True, "rc": 4, "errno": "", "wall_ns": 1, "user_ns": 1, "sys_ns": 1, "cpu_busy_ns": 1, "nvcsw": 1,
        "nivcsw": 0, "bd_before": [1, 2, 3], "bd_after": [11, 22, 33], "mm_before": dict.fromkeys(KERNEL_4_14, 1),
        "mm_after": dict.fromkeys(KERNEL_NOW, 2), "took_ns": 9,
    }  # fmt: skip
    return json.dumps(fields | changes)


KERNEL_4_14 = (
    "orig_data_size", "compr_data_size", "mem_used_total", "mem_limit", "mem_used_max", "same_pages", "pages_compacted"
)  # fmt: skip
KERNEL_NOW = (*KERNEL_4_14, "huge_pages", "huge_pages_since")
DISK = {"reads": 0, "writes": 1, "writes_merged": 0, "written_bytes": 2, "time_in_queue_ms": 3}


def test_what_zram_counted_meanwhile_is_the_difference() -> None:
    reply = session_that_says(written()).write_timed("/x", "idle", zram=0)
    assert (reply.written_4k, reply.read_4k) == (30, 20)
    assert (tuple(reply.mm_before.facts()), reply.mm_after.huge_pages_since) == (KERNEL_4_14, 2)
    assert reply.disks == {}


def test_disks_are_told_by_name_and_their_depth_where_it_was_sampled() -> None:
    disks = {"loop3": DISK, "sda": {**DISK, "deepest": 7, "samples": 100}}
    reply = session_that_says(written(disks=disks)).write_timed("/x", "idle", zram=0, disks=["loop3", "sda"])
    assert (reply.disks["loop3"].deepest, reply.disks["sda"].deepest) == (None, 7)


NESTED = [
    ({"bd_after": [1, 2]}, "bd_after: expected an array of 3: count_4k, reads_4k, writes_4k, read '[1, 2]'"),
    ({"bd_after": {"count_4k": 1}}, "bd_after: expected an array of 3"),
    ({"bd_after": [1, 2, -3]}, "bd_after.writes_4k: expected a whole number"),
    ({"mm_after": {**dict.fromkeys(KERNEL_NOW, 2), "huge": 1}}, "mm_after.huge: unknown field"),
    ({"mm_after": {"orig_data_size": 1}}, "mm_after.compr_data_size: missing field"),
    ({"mm_after": []}, "mm_after: expected an object"),
    ({"disks": [DISK]}, "disks: expected an object"),
    ({"disks": {"sda": {**DISK, "writes": "1"}}}, "disks.sda.writes: expected a whole number"),
    ({"rc": -(1 << 63) - 1}, "rc: expected a whole number from -9223372036854775808"),
]


@pytest.mark.parametrize(("changes", "says"), NESTED)
def test_a_field_within_a_field_is_named_by_its_path(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ReplyNotUnderstood, match=f"^PHONE1: probe write-timed: {re.escape(says)}"):
        session_that_says(written(**changes)).write_timed("/x", "idle", zram=0)


def test_a_switch_that_is_no_switch_is_named_by_its_place() -> None:
    row = [0, 1, 2, 1, 4, 5, 6, 7, 8, 9]
    fields = {"ok": True, "deaths": [], "alive": 1, "compactions": 0, "compaction": "madvise", "took_ns": 1}
    good = session_that_says(json.dumps(fields | {"switches": [row]})).apps_switch([0], dwell_ms=1)
    assert (good.switches[0].kind, good.switches[0].control_ns) == (1, 9)
    bad = json.dumps(fields | {"switches": [row, [*row[:3], 4, *row[4:]]]})
    with pytest.raises(ReplyNotUnderstood, match=re.escape("switches[1].kind: expected a whole number from 0 to 3")):
        session_that_says(bad).apps_switch([0], dwell_ms=1)


def test_a_refusal_keeps_its_errno_and_what_was_known_by_then() -> None:
    line = '{"ok":false,"errno":"EIO","error":"writeback: write: I/O error","written":40,"took_ns":5}'
    with pytest.raises(ProbeFailed, match=r"^PHONE1: probe writeback: writeback: write: I/O error$") as caught:
        session_that_says(line).writeback("a", zram=0)
    assert (caught.value.errno, caught.value.known) == ("EIO", {"written": 40})


# The real probe.


@pytest.fixture
def running() -> Iterator[Served]:
    with served([str(build("x86_64"))]) as serving:
        yield serving


class OnHost:
    """A connection to the probe that runs on this host."""

    def __init__(self, to: Served) -> None:
        self._to = to

    def request(self, line: str, *, deadline: Deadline) -> str:
        return json.dumps(self._to.ask(line))

    def close(self) -> None:
        pass


@pytest.fixture
def probe(running: Served) -> ProbeSession:
    return ProbeSession(FakePhone(), OnHost(running))


def test_the_real_probe_says_who_it_is_and_what_timing_costs(probe: ProbeSession, running: Served) -> None:
    hello = probe.hello()
    assert (hello.protocol, hello.page_size, hello.pid) == (1, PAGE, running.process.pid)
    overhead = probe.overhead(100)
    assert overhead.samples == 100
    assert overhead.timer_ns.min <= overhead.timer_ns.p50 <= overhead.timer_ns.p99 <= overhead.timer_ns.max


def test_the_real_probe_keeps_areas(probe: ProbeSession, running: Served, tmp_path: Path) -> None:
    filled = probe.fill_area("a", 500 * PAGE, mix=MIX, seed=7)
    assert filled.pages == 500 == filled.zero + filled.same + filled.stored
    assert probe.verify_area("a").corrupt == 0
    probe.corrupt_area("a", 3)
    assert probe.verify_area("a").first_corrupt == (3,)
    assert probe.pageout("a", tries=1).pages == 500
    slots = probe.slots("a", out=str(tmp_path / "slots"))
    assert (slots.pages, slots.lo is None) == (500, slots.swapped == 0)
    # With zram= it needs one; what that adds is the same in every command.
    touched = running.good(f"touch name=a order=random seed=4 out={tmp_path / 'touch'}")
    fields = {name: value for name, value in touched.items() if name not in ("ok", "took_ns")}
    books = {"bd_before": [0, 0, 0], "bd_after": [0, 0, 0]}
    assert read_reply(replies.Touched, "touch", fields | books).samples == 500
    assert probe.drop("a") == replies.Done()


def test_the_real_probe_writes_files_and_detaches_what_is_not_there(probe: ProbeSession, tmp_path: Path) -> None:
    path = tmp_path / "attribute"
    path.touch()
    reply = probe.write_attribute(str(path), "idle")
    assert (reply.rc, reply.errno, path.read_text()) == (4, "", "idle")
    detached = probe.loop_detach(str(path), remove=True)
    assert (detached.detached, detached.removed, path.exists()) == (0, True, False)


def test_the_real_probe_burns_time_and_lists_workers(probe: ProbeSession) -> None:
    probe.load_start("cpu", threads=1, limit_s=5)
    assert not probe.load_stop().ended_early
    probe.kworkers()
    assert probe.renice([1], minus=0).changed == 0


def test_the_real_probe_plays_apps(probe: ProbeSession, tmp_path: Path) -> None:
    made = probe.apps_make(
        2, anonymous=16 * PAGE, file_backed=0, working_set=8 * PAGE, mix=MIX, seed=1, order="random",
        folder=str(tmp_path),
    )  # fmt: skip
    assert made.apps == 2
    played = probe.apps_switch([0, 1, 0], dwell_ms=0)
    assert [(switch.app, switch.kind == 2) for switch in played.switches] == [(0, True), (1, True), (0, False)]
    assert (played.alive, played.deaths) == (2, ())
    assert probe.daemon_front(1) == probe.daemon_pause() == replies.Done()
    assert probe.apps_end().ended == 2


def test_every_field_that_python_knows_is_a_word_of_the_c_sources() -> None:
    """For the commands that need a phone: a field renamed on one side only is found here."""
    # records.c answers the tests of the layouts of result files, and nobody else.
    sources = "".join(path.read_text() for path in SOURCES.glob("*.c") if path.name != "records.c")
    modules = (replies, app_replies, mapped, hammering)
    ours = [
        kind for each in modules for kind in vars(each).values() if getattr(kind, "__module__", "") == each.__name__
    ]
    sent_as_arrays = (app_replies.AppSwitch, app_replies.AppDeath)
    types = [MmStat, Control, *(kind for kind in ours if dataclasses.is_dataclass(kind) and kind not in sent_as_arrays)]
    known = {field.name for kind in types for field in dataclasses.fields(kind)}
    assert sorted(name for name in known if f'"{name}"' not in sources) == []
    # took_ns, which every answer has, is taken off before.
    replied = set(re.findall(r'reply_(?:u64|i64|text|null|open|bd|told)\(rep, "(\w+)"', sources))
    assert sorted(replied - known - {"took_ns"}) == []
