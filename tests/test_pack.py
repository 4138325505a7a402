"""A pack of a run: every byte of it is searched for what tells whose it was, and its figures are those of the run."""

from __future__ import annotations

import getpass
import gzip
import json
import os
import re
import shutil
import socket
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from base.errors import ReportError
from commands import compare, pack, report
from records.block_events import SUFFIX, packed, parse_events, read_trace
from records.reading import StoredRun, load
from reports.analysis import analyse
from reports.contents import sections
from reports.export import render_csv
from reports.neutral import NeutralWords
from reports.pack import pack_runs
from tests.conftest import folder_in_memory

SERIAL, ADB, BUILD = (
    "R5CT90ABXYZ",
    "pixel.attic.lan:5555",
    "acme/beta/beta:16/BP2A.250605.031/13579246:user/release-keys",
)
APPS = ["com.example.bank", "org.hidden.messenger.beta", "de.rail", "com.tiny.tv"]
SMALL = ("fault_latency", "writeback_limit")
UNKNOWN_APP, HOST, USER, OTHER_USER = "io.secret.diary", "attic-server", "erika", "mustermann"
# What the kernel calls a task of an app: the end of its name; and what stands in the name of a file.
TASKS = ["messenger.beta", "ecret.diary.ui"]
PLANTED = (
    SERIAL, ADB, ADB.replace(":", "_"), BUILD, "13579246", *APPS, *TASKS, UNKNOWN_APP, HOST, USER, OTHER_USER,
    "192.168.7.9", "/srv/phones", "bobs-kernel", "release-keys",
)  # fmt: skip


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


@pytest.fixture(scope="module", autouse=True)
def named_computer() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", f"/srv/phones/{USER}")
        patch.setattr(getpass, "getuser", lambda: USER)
        patch.setattr(socket, "gethostname", lambda: f"{HOST}.example")
        yield


@pytest.fixture(scope="module")
def run(produced_run: Path, memory: Path) -> Path:
    """A produced run as a phone and a computer with names would have made it."""
    return telling(produced_run, memory / f"20261123T101500Z-{ADB.replace(':', '_')}", SERIAL)


@pytest.fixture(scope="module")
def other(produced_run: Path, memory: Path) -> Path:
    """A few points of the run as it was produced, of another phone: plots take most of the time."""
    return copied(produced_run, memory / "20261124T101500Z-other", tests=SMALL)


@pytest.fixture(scope="module")
def both_sent(run: Path, other: Path, memory: Path) -> tuple[Path, Path]:
    one, two = pack_runs([run, other], memory / "packs")
    assert not (*one.left_out, *two.left_out)
    return one.folder, two.folder


@pytest.fixture(scope="module")
def sent(both_sent: tuple[Path, Path]) -> Path:
    return both_sent[0]


def copied(produced: Path, folder: Path, *, tests: Collection[str] = ()) -> Path:
    """Copy a run, or of these tests alone, with the files that its records name."""
    kept: list[dict[str, Any]] = []
    for record in map(json.loads, (produced / "results.jsonl").read_text().splitlines()):
        if record["type"] != "run" or not tests or record["test"] in tests:
            kept.append(record)
    (folder / "raw").mkdir(parents=True)
    for each in kept:
        for name in (*each.get("raw", {}).values(), *each.get("facts", {}).get("events", [])):
            shutil.copyfile(produced / name, folder / name)
    write(folder, kept)
    return folder


def write(folder: Path, records: list[dict[str, Any]]) -> None:
    (folder / "results.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def telling(produced: Path, folder: Path, serial: str) -> Path:
    """Copy a run and put the names of a phone, its apps, a user and a computer wherever a run may have some."""
    copied(produced, folder)
    records = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    session, end = records[0], records[-1]
    session["run_id"] = folder.name
    session["command"] = (
        f"./lab run --device {ADB} --results /home/{OTHER_USER}/r suites/test_app_switch.py my/{USER}.py"
    )
    session["requested"] = [f"/home/{OTHER_USER}/lab/suites", "suites/test_app_switch.py"]
    session["provenance"] |= {"serial": serial, "build": BUILD, "host": {"system": HOST, "cpus": 8, "load_1min": 0.5}}
    end["facts"] |= {
        "transcript_problem": f"/srv/phones/{USER}/transcript.log: cannot write",
        "kernel_noted": {f"INFO: task {TASKS[0]}:4711 blocked for more than 120 seconds": 2},
        "lost": f"{ADB}: gone; 192.168.7.9:5555 too",
    }
    for record in records:
        facts = record.get("facts", {})
        if record.get("test") == "app_switch":
            facts["apps"] = APPS
            facts["problems"] = [f"{APPS[1]}: am measured no time", f"{UNKNOWN_APP}: is not installed"]
            facts["victims"] = [{"app": APPS[0], "t_ms": 3, "reason": f"killed by {USER}@{HOST}"}]
            was, name = (
                record["raw"]["switch.t_ms"],
                f"raw/{APPS[0].replace('.', '_')}-{len(record['raw']['kill.app'])}.npy",
            )
            shutil.copyfile(folder / was, folder / name)
            record["raw"]["switch.t_ms"] = name
        if record["type"] == "outcome" and "app_switch" in record["test"]:
            record |= {
                "outcome": "failed",
                "reason": f"/home/{OTHER_USER}/lab/x.py:7: {serial} on {HOST}: {APPS[2]} died",
            }
        if record.get("test", "").startswith("ab_"):
            facts["settings"] = "zram=bobs-kernel.patch,batch_size=8"
    write(folder, records)
    for trace in (folder / "raw").glob(f"*{SUFFIX}"):
        text = gzip.decompress(trace.read_bytes()).decode()
        head = f"# {BUILD} on {HOST}\n"
        trace.write_bytes(
            packed(head + text.replace("probe-457", f"{TASKS[1]}-457").replace("[probe]", f"[{TASKS[0]}]"))
        )
    for name in ("transcript.log", "kernel.log", "junit.xml", f"{APPS[0]}.txt"):
        (folder / name).write_text("\n".join(PLANTED))
    return folder


def everything(folder: Path) -> dict[str, bytes]:
    """Every file by its name, unpacked; the name is searched as well."""
    found = {}
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(parent, name)
            content = path.read_bytes() if path.is_file() else b""
            found[name] = name.encode() + b"\n" + (gzip.decompress(content) if name.endswith(".gz") else content)
    return {folder.name: folder.name.encode(), **found}


def named_in(folder: Path) -> set[tuple[str, str]]:
    return {
        (word, name)
        for name, content in everything(folder).items()
        for word in PLANTED
        if word.lower().encode() in content.lower()
    }


def test_no_name_is_left_in_any_byte(run: Path, sent: Path) -> None:
    assert {word for word, _ in named_in(run)} == set(PLANTED), "the run must have them, or nothing is shown"
    assert not named_in(sent)


def test_nothing_that_names_a_produced_run_is_left(produced_run: Path, both_sent: tuple[Path, Path]) -> None:
    was = load(produced_run)
    apps = {app for result in was.runs for app in result.facts.get("apps", [])}
    host = was.session.provenance.host["system"]
    names = [was.session.provenance.serial, was.session.provenance.build or "", host, *apps]
    assert len(names) > 3
    assert all(names)
    content = b"\n".join(content for folder in both_sent for content in everything(folder).values())
    assert not [name for name in names if name.encode() in content]


def test_the_same_thing_has_the_same_word(sent: Path) -> None:
    packed_run = load(sent)
    switches = [result for result in packed_run.runs if result.test == "app_switch"]
    assert {tuple(result.facts["apps"]) for result in switches} == {("app-1", "app-2", "app-3", "app-4")}
    assert switches[0].facts["problems"][0] == "app-2: am measured no time"
    assert switches[0].facts["victims"][0]["app"] == "app-1"
    (failed,) = [each for each in packed_run.outcomes if each.outcome == "failed"]
    assert failed.reason.endswith(".py:7: phone-1 on host: app-3 died")
    assert packed_run.end is not None
    assert packed_run.end.facts["lost"].startswith("phone-1: gone")
    assert "suites/test_app_switch.py" in packed_run.session.command


def figures(run: StoredRun) -> list[Any]:
    return [
        (
            each.test, each.params, each.metrics, each.warmups, each.turns, each.checks, each.caveats,
            {name: run.samples(each, name).tolist() for name in each.raw},
        )
        for each in run.runs
    ]  # fmt: skip


def test_figures_and_samples_are_those_of_the_run(run: Path, sent: Path) -> None:
    was, now = load(run), load(sent)
    assert not now.problems
    assert figures(now) == figures(was)
    assert (now.session.seed, now.session.started_utc) == (was.session.seed, was.session.started_utc)
    told, told_now = ([each.findings for each in sections(analyse(each))] for each in (was, now))
    without_words = [[re.sub(r"path-\d+", "bobs-kernel", text) for text in texts] for texts in told_now]
    assert without_words == told


def test_block_events_are_those_of_the_run_but_for_who_issued_them(run: Path, sent: Path) -> None:
    def events(folder: Path) -> list[Any]:
        names = [name for each in load(folder).runs for name in each.facts.get("events", [])]
        assert names
        return [
            (each.ns, each.issue, each.disk, each.flags, each.sector, each.sectors, each.tid, each.cpu)
            for name in names
            for each in parse_events(read_trace(folder, name))
        ]

    assert events(sent) == events(run)


def test_report_reads_it_and_makes_the_same_again(run: Path, both_sent: tuple[Path, Path]) -> None:
    whole, small = both_sent
    was = everything(small)
    assert report.main([str(small)]) == 0
    assert everything(small) == was
    assert (whole / "report.csv").read_text() == render_csv(load(run))


def test_compare_says_the_same_of_packs(
    run: Path, other: Path, both_sent: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    def compared(base: Path, cand: Path) -> tuple[int, Any]:
        status = compare.main([str(base), str(cand), "--format", "json"])
        return status, json.loads(capsys.readouterr().out)["figures"]

    assert compared(*both_sent) == compared(run, other)


def test_phones_that_are_packed_together_stay_two(both_sent: tuple[Path, Path]) -> None:
    assert [load(each).session.provenance.serial for each in both_sent] == ["phone-1", "phone-2"]
    assert [each.name for each in both_sent] == ["20261123T101500Z-phone-1", "20261123T101500Z-phone-2"]


def test_junit_counts_what_the_records_have(sent: Path) -> None:
    suite = ET.parse(sent / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == (str(len(load(sent).outcomes)), "1")


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_link_is_left_out_and_told(other: Path, memory: Path, what: str) -> None:
    copy = memory / f"linked-{what}"
    shutil.copytree(other, copy)
    name = next(each.raw["fault.latency"] for each in load(copy).runs if "fault.latency" in each.raw)
    link = copy / name if what == "file" else copy / "raw"
    link.rename(copy / "elsewhere")
    link.symlink_to(copy / "elsewhere")
    (made,) = pack_runs([copy], memory / "packs")
    assert [name for text in made.left_out if name in text and "link" in text]
    assert not (made.folder / name).exists()
    assert load(made.folder).problems


def test_what_is_no_run_makes_no_pack(other: Path, memory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link, empty, packs = memory / "link", memory / "empty", memory / "none"
    empty.mkdir()
    link.symlink_to(other)
    for wrong in (empty, link, link / "results.jsonl", memory / "missing"):
        with pytest.raises(ReportError):
            pack.main([str(other), str(wrong), "--to", str(packs)])
    assert not packs.exists()
    assert pack.main([str(other), "--to", str(packs)]) == 0
    (made,) = packs.iterdir()
    assert f"pack: {made}\n" in capsys.readouterr().out


def test_a_name_that_is_still_there_costs_the_pack(other: Path, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = memory / "named"
    copied(other, copy, tests=("none",))
    session = json.loads((copy / "results.jsonl").read_text().splitlines()[0])
    write(
        copy, [session, {"type": "outcome", "test": "t", "title": "", "outcome": "failed", "reason": f"{USER}: FAKE01"}]
    )
    monkeypatch.setattr(NeutralWords, "foreign", lambda self, text: text)
    with pytest.raises(ReportError, match="'FAKE01' is still in it"):
        pack_runs([copy], memory / "leaking")
    assert not list((memory / "leaking").iterdir())
