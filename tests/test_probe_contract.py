"""The fake probe against the real one on this host: the same words are understood, refused and answered."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.deadline import Deadline
from base.paths import REPO
from devices.fake.phone import FakePhone
from devices.fake.probe import FakeProbe
from devices.fake.probe_grammar import COMMANDS, Key
from devices.fake.records import SAMPLE
from devices.probe.build import build
from tests.probe_process import Served, served

PAGE = 4096
# Durations, and what not every kernel counts.
TIMES = ("took_ns", "wall_ns", "user_ns", "sys_ns", "minflt", "kworkers_ns", "psi_cpu_us")
MIX = "z5,s5,c60@3,i30"
ARCHS = ("aarch64", "x86_64")
Reply = dict[str, Any]

pytestmark = pytest.mark.skipif(os.sysconf("SC_PAGE_SIZE") != PAGE, reason="the fake phone's pages are 4 KiB")


@pytest.fixture(scope="module")
def program() -> Iterator[Served]:
    with served([str(build("x86_64"))]) as serving:
        yield serving


class Fake:
    """A fake probe that is asked as the program is."""

    def __init__(self) -> None:
        self.phone = FakePhone()
        self._probe = FakeProbe(self.phone)

    def ask(self, line: str) -> Reply:
        reply: Reply = json.loads(self._probe.request(line, deadline=Deadline.after(1)))
        return reply


@dataclass(frozen=True)
class Both:
    """The fake probe and the program, asked the same."""

    fake: Fake
    program: Served
    folder: str

    def ask(self, line: str) -> tuple[Reply, Reply]:
        """Answers without what differs from machine to machine: durations, and how much memory there is."""
        answers = []
        for ask in (self.fake.ask, self.program.ask):
            reply = ask(line.replace("DEVICE", f"{self.folder}/device"))
            answers.append({key: value for key, value in reply.items() if key not in TIMES})
        return answers[0], answers[1]

    def alike(self, line: str) -> None:
        fake, program = self.ask(line)
        assert fake == program, line
        assert program["ok"], program


@pytest.fixture
def fake() -> Fake:
    return Fake()


def good_word(key: Key) -> str:
    return f"{key.name}={key.choices.split('|')[0] or {'number': '2', 'flag': '1'}.get(key.kind, 'x')}"


def wrong_lines() -> Iterator[str]:
    """For each command and form: no key, each key left out, wrong, empty, twice, and one that there is not."""
    for name, keys in COMMANDS:
        words = [good_word(key) for key in keys]
        yield " ".join([name, *words, "colour=red"])
        yield " ".join([name, *words, "x"])
        for at, key in enumerate(keys):
            others = words[:at] + words[at + 1 :]
            yield " ".join([name, *words, words[at]])
            yield " ".join([name, *others, f"{key.name}="])
            if key.required:
                yield " ".join([name, *others])
            if key.kind != "text" or key.choices:
                yield " ".join([name, *others, f"{key.name}=-1"])
            if key.kind == "flag":
                yield " ".join([name, *others, f"{key.name}=2"])


ODD = [
    "", "   ", "bogus", "hello =1", "overhead samples=0x10", "overhead samples=18446744073709551616", "x" * 5000,
    "hello " + "k=v " * 40, "hello " + " ".join(f"k{n}=v" for n in range(20)), "fill", "verify seed=1",
]  # fmt: skip


def test_what_is_no_command_is_refused_in_the_same_words(program: Served, fake: Fake) -> None:
    lines = [*wrong_lines(), *ODD]
    assert len(lines) > 300
    assert [(line, fake.ask(line)) for line in lines] == [(line, program.ask(line)) for line in lines]


def test_the_table_of_commands_is_the_programs() -> None:
    """A command or key that is new in the program is missed by a test that asks for known ones only."""
    text = (REPO / "probe/commands.c").read_text(encoding="utf-8")
    shared = dict(re.findall(r"#define (SELECTION|CONTENT|LASTING|THREADS) (.*)", text))
    table = text[text.index("const struct command commands[]") :]
    for name, keys in shared.items():
        table = re.sub(rf"\b{name}\b", keys, table)
    rows = [row for row in re.split(r"\n\t\{ ", table)[1:] if row.startswith('"')]
    found = []
    for row in rows:
        name = row.split('"')[1]
        kinds = re.findall(r'\b(TEXT|CHOICE|NUMBER|FLAG)(_OPT)?\("(\w+)"', row)
        found.append((name, [(key, {"CHOICE": "text"}.get(kind, kind.lower()), not opt) for kind, opt, key in kinds]))
    assert found == [(name, [(key.name, key.kind, key.required) for key in keys]) for name, keys in COMMANDS]


# What the program refuses when it carries a command out; none of it needs a zram.
REFUSED = [
    "overhead samples=1", "overhead samples=1000001", "fill name=a bytes=0 mix=i100 seed=1",
    "fill name=a bytes=4097 mix=i100 seed=1", f"fill name={'n' * 32} bytes={PAGE} mix=i100 seed=1",
    *(f"fill name=a bytes={PAGE} mix={mix} seed=1" for mix in (
        "i90", "i101", "z50,i51", "c100@1", "c100@1.2", "c100@21", "c100@", "q100", "i100,", ",i100", "i", "100",
        "i100@3", "c100@3.", "c100@2.505", "i50x,i50", "i10,i10,i10,i10,i10,i10,i10,i10,i20", "i01000",
        "i99.9", "i100.1", "s0.5,i99", "i100.", "i99.95", "i.5", "h100@3", "h99", "f100@2",
    )),
    "verify name=nobody", "drop name=nobody", "pageout name=nobody", "slots name=nobody", "corrupt name=nobody page=0",
    "touch name=nobody order=random seed=1 out=/x", "writeback name=nobody zram=99",
    "race name=nobody victim=none zram=0 disk=sda seed=1 out=/x", "corrupt path=/nowhere/x page=1",
    f"fill path=/nowhere/x lo=0 hi=1 mix={MIX} seed=1", "free path=/nowhere/x lo=0 hi=1",
    "write-timed path=/nowhere/x value=1", "loop-attach file=x size=4096 direct=1 block=4096 allocate=1 pin=0",
    "loop-attach file=/x size=4097 direct=1 block=4096 allocate=1 pin=0", "loop-detach file=x",
    "mapped-attach file=x size=4096", "mapped-attach file=/x size=4097", "mapped-attach file=/x size=0",
    "mapped-detach file=x", "dm-below dev=x", "dm-below dev=254",
    "extents file=/nowhere/x out=/x", "control file=/nowhere/x",
    "renice pids=1 minus=21", "load-stop", "load-start kind=cpu threads=0 limit_s=5",
    "load-start kind=cpu threads=1 limit_s=0",
    "load-start kind=random_read threads=1 limit_s=5 file=/x size=4096 bytes=9",
    "load-start kind=random_read threads=1 limit_s=5 file=x size=524288 bytes=9",
    "load-start kind=random_read threads=1 limit_s=5 file=/nowhere/x size=524288 bytes=9",
    f"apps-make count=0 anonymous={PAGE} file_backed=0 working_set={PAGE} mix={MIX} seed=1 order=random folder=/x",
    f"apps-make count=1 anonymous={PAGE} file_backed=0 working_set=1 mix={MIX} seed=1 order=random folder=/x",
    f"apps-make count=1 anonymous={PAGE} file_backed=0 working_set={PAGE} mix=i1 seed=1 order=random folder=/x",
    "apps-switch sequence=0 dwell_ms=0", "apps-switch sequence=a dwell_ms=0", "apps-switch sequence=0, dwell_ms=0",
    "sample-start zram=99 interval_ms=9 duration_s=1", "sample-start zram=99 interval_ms=10 duration_s=0",
    "sample-start zram=99 interval_ms=10 duration_s=1", "sample-stop out=/x",
    "daemon-start zram=99 trigger=idle limit_4k=1 age_s=0", "daemon-start zram=99 trigger=idle limit_4k=0",
    "daemon-start zram=99 trigger=idle limit_4k=1", "daemon-stop out=/x", "daemon-front pid=0",
    # With areas a and b of four pages, and a device of eight.
    f"fill name=a bytes={PAGE} mix=i100 seed=1", "corrupt name=a page=4",
    "touch name=a order=random seed=1 out=/x pages=0",
    "touch name=a order=random seed=1 out=/x pages=5", "touch name=a order=random seed=1 out=/nowhere/x",
    *(f"reads name=a zram=99 files=/nowhere/x out=/x {numbers} seed=1" for numbers in (
        "reads=0 pause_us=1 call_pages=1", "reads=1000001 pause_us=1 call_pages=1", "reads=1 pause_us=1 call_pages=0",
        "reads=1 pause_us=10000001 call_pages=1", "reads=1 pause_us=1 call_pages=1",
    )), "reads name=nobody zram=99 files=/x out=/x reads=1 pause_us=1 call_pages=1 seed=1",
    "reads name=a zram=99 files=DEVICE out=/x reads=1 pause_us=1 call_pages=1 seed=1",
    f"reads name=a zram=99 files={','.join(['DEVICE'] * 9)} out=/x reads=1 pause_us=1 call_pages=1 seed=1",
    *(f"race name=a victim=b zram=99 disk=sda seed=1 out=/x {writer}" for writer in (
        "writer=burn", "writer=burn burn_percent=101", "writer=none burn_percent=5", "burn_percent=5",
    )),
    "race name=a victim=a zram=99 disk=sda seed=1 out=/x", "race name=a victim=b zram=99 disk=sda seed=1 out=/x",
    "writeback name=a zram=99", "slots name=a out=/nowhere/x",
    *(f"{verb} path=DEVICE {pages} mix={MIX} seed=1" for verb in ("fill", "verify") for pages in (
        "lo=1 hi=0", "lo=0 hi=8", "lo=0 hi=7 pick=0 pick_seed=1", "lo=0 hi=7 pick=9 pick_seed=1", "lo=0 hi=7 pick=2",
        "lo=0 hi=7 pick_seed=2",
    )),
    "free path=DEVICE lo=0 hi=3", "corrupt path=DEVICE page=8", "write-timed path=DEVICE value=1 disks=../x",
    "write-timed path=DEVICE value=1 disks=nosuch", "write-timed path=DEVICE value=1 zram=99",
    "touch name=a order=random seed=1 out=/x zram=99",
    "hammer name=nobody zram=99 duration_s=1 readers=1", "hammer name=a zram=99 duration_s=1 readers=1",
    f"hammer path=/nowhere/x pages=9 mix={MIX} seed=1 zram=0 duration_s=1 readers=1",
    f"hammer path=DEVICE pages=9 mix={MIX} seed=1 zram=0 duration_s=1 readers=1",
    f"hammer path=DEVICE pages=8 mix={MIX} seed=1 zram=0 duration_s=1 readers=1 piece=4095",
    "hammer path=DEVICE pages=8 mix=i1 seed=1 zram=0 duration_s=1 readers=1",
    "poke zram=99 duration_s=0 pokes=idle:all", "poke zram=99 duration_s=1 pokes=idle:all",
    f"poke zram=99 duration_s=1 pokes={'x' * 200}", "poke zram=99 duration_s=1 pokes=:all",
    "meanwhile zram=99 first=idle:all disk=sda others=bd_stat", "blocks path=/nowhere/x",
    "fs-shutdown path=/nowhere/x",
]  # fmt: skip


@pytest.fixture
def both(program: Served, fake: Fake, tmp_path: Path) -> Iterator[Both]:
    """Both with the same two areas, and the same file of eight pages that stands for a device."""
    (tmp_path / "device").write_bytes(bytes(8 * PAGE))
    both = Both(fake, program, str(tmp_path))
    fake.phone.files |= {f"{tmp_path}/device": str(8 * PAGE)}
    for name in ("a", "b"):
        both.alike(f"fill name={name} bytes={4 * PAGE} mix={MIX} seed=7")
    yield both
    for name in ("a", "b"):
        program.ask(f"drop name={name}")


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_done_is_refused_in_the_same_words(both: Both, line: str) -> None:
    fake, program = both.ask(line)
    assert not program["ok"]
    assert fake == program


def test_pages_are_of_the_same_kinds_and_found_as_they_are(both: Both) -> None:
    """What a page holds is drawn from mix, seed and number; so is which pages are picked."""
    for seed in (0, 1, 2**64 - 1):
        both.alike(f"fill name=c bytes={200 * PAGE} mix={MIX} seed={seed}")
        both.alike("drop name=c")
    both.alike(f"fill name=c bytes={200 * PAGE} mix=s11.1,i8.3,c20.5@3.59,h50.1,f10 seed=1")
    both.alike("drop name=c")
    both.alike(f"blocks path={both.folder}/device")
    device = f"path={both.folder}/device lo=1 hi=6 mix={MIX} seed=3"
    both.alike(f"fill {device}")
    both.alike(f"verify {device}")
    both.alike(f"verify {device} pick=3 pick_seed=5")
    both.alike(f"verify path={both.folder}/device lo=0 hi=7 mix={MIX} seed=3")
    both.alike(f"verify path={both.folder}/device lo=0 hi=7 mix={MIX} seed=4")
    both.alike(f"corrupt path={both.folder}/device page=2")
    both.alike(f"verify {device}")
    both.alike("verify name=a")
    both.alike("corrupt name=a page=3")
    both.alike("verify name=a")


@pytest.mark.parametrize("line", ["order=random seed=11", "order=sequential seed=1", "order=random seed=11 pages=3"])
def test_pages_are_touched_in_the_same_order(both: Both, line: str) -> None:
    both.alike(f"touch name=a {line} out={both.folder}/touched")
    fake = np.frombuffer(both.fake.phone.binaries[f"{both.folder}/touched"], SAMPLE)
    program = np.fromfile(f"{both.folder}/touched", SAMPLE)
    assert fake["page"].tolist() == program["page"].tolist()
    assert fake["label"].tolist() == program["label"].tolist()


# Those that do the same on both; figures, which are the machine's, are not compared.
ANSWERED = [
    "hello", "overhead samples=10", "pageout name=a tries=0", "slots name=a", "slots name=a out=FOLDER/slots",
    "write-timed path=FOLDER/attribute value=1", "control", "kworkers", "renice pids=1,2 minus=19",
    f"apps-make count=2 anonymous={8 * PAGE} file_backed=0 working_set={2 * PAGE} mix={MIX} seed=1 order=random "
    "folder=FOLDER", "apps-switch sequence=0,1,0 dwell_ms=0", "apps-switch sequence=2 dwell_ms=0",
    f"apps-make count=2 anonymous={8 * PAGE} file_backed=0 working_set={2 * PAGE} mix={MIX} seed=1 order=random "
    "folder=FOLDER", "apps-end", "apps-end", "load-start kind=cpu threads=1 limit_s=9",
    "load-start kind=cpu threads=1 limit_s=9", "load-stop", "daemon-pause", "daemon-front pid=7",
    "loop-detach file=FOLDER/nothing remove=1",
]  # fmt: skip


def test_records_are_described_alike(both: Both) -> None:
    both.alike("describe")


def test_answers_have_the_same_fields(both: Both) -> None:
    both.fake.phone.files[f"{both.folder}/attribute"] = ""
    Path(both.folder, "attribute").touch()
    for line in ANSWERED:
        fake, program = both.ask(line.replace("FOLDER", both.folder))
        assert shape(fake) == shape(program), line


def shape(value: Any) -> Any:
    """Names and types; of a list what its first item is like, unless it may be empty."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value and isinstance(value[0], list) else ["..."]
    return value if isinstance(value, str | bool) and value != "" and value not in ARCHS else type(value).__name__
