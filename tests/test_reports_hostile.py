"""Results from anywhere: whatever a folder holds, a report is made or refused in words, within a bounded time.

``LAB_MUTATIONS=5000`` tries more of them, ``LAB_MUTATIONS_SEED`` others.
"""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.errors import LabError, ReportError
from commands.__main__ import main
from records.reading import load
from reports.analysis import analyse
from reports.comparison.compare import compare
from reports.comparison.json_form import render_json
from reports.comparison.screen import render_mail, render_screen
from reports.comparison.text import render_everything
from reports.contents import sections
from reports.export import render_csv
from reports.render import render_all
from reports.screen import mail, screen
from reports.text import render_text
from tests.test_reports_render import Page

GOOD = Path(__file__).parent / "data" / "run-schema1"
RAW = "raw/fault.latency-ram.npy"
MUTATIONS = int(os.environ.get("LAB_MUTATIONS", "300"))
SEED = int(os.environ.get("LAB_MUTATIONS_SEED", "20261127"))
# Pages with their plots take most of the time, then comparisons: one in so many mutations gets one.
PAGE_EVERY, COMPARED_EVERY = 60, 3
# CPU time of one report as text and one comparison; a hang takes for ever, and a good run 0.1 s.
BOUND_S = 5.0
PAGE_BOUND_S = 20.0

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
EVIL = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>\"'` ${7*7}{{7*7}}\x1b]0;pwn\x07\x1b[2J\x00\x9b31m\u202eRTL"
    "\r\nX-Injected: 1\t$\\alpha$ $x^"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(GOOD, tmp_path / "run")
    return tmp_path / "run"


def records(folder: Path = GOOD) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def write(folder: Path, changed: list[dict[str, Any]]) -> None:
    (folder / "results.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in changed), encoding="utf-8")


def told(folder: Path) -> list[str]:
    """Everything that is printed of a run, without its plots."""
    run = load(folder)
    analysis = analyse(run)
    parts = sections(analysis)
    return [render_text(analysis, parts), screen(analysis, parts), mail(analysis, parts), render_csv(run)]


def compared(folder: Path) -> list[str]:
    comparison = compare(str(GOOD), str(folder))
    return [render(comparison) for render in (render_screen, render_mail, render_everything, render_json)]


def check(folder: Path, makers: Callable[[Path], list[str]]) -> str:
    """Text without control characters, or one error of ours with words; anything else is a traceback."""
    try:
        contents = makers(folder)
    except LabError as error:
        assert CONTROL.search(error.for_people()) is None
        return error.for_people()
    assert [found[0] for content in contents if (found := CONTROL.search(content))] == []
    return ""


def every_place(record: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value within a record."""
    items = record.items() if isinstance(record, dict) else enumerate(record) if isinstance(record, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from every_place(value, (*path, key))


NONSENSE: tuple[Any, ...] = (
    None, [], {}, [[[]]], {"x": {"y": 1}}, "", EVIL, "\ud800", "a" * 100_000, "\u0301" * 50, "=cmd|'/C calc'!A0", "$x$",
    True, -1, 0, 10**30, 10**400, -(10**400), 2**64, 1e308, 1e30, 1e-30, 5e-324, -1e-30, 0.1, "7", "lower", "ram",
    json.loads("[" * 900 + "]" * 900),
)  # fmt: skip


def mutate_records(chosen: random.Random, folder: Path) -> str:
    """Replace, rename, double or drop a few places of the records."""
    changed = records()
    said = []
    for _ in range(chosen.randint(1, 3)):
        number = chosen.randrange(len(changed))
        path = chosen.choice(list(every_place(changed[number])))
        *way, last = path
        inner: Any = changed[number]
        for key in way:
            inner = inner[key]
        kind = chosen.choice(["replace", "replace", "replace", "rename", "drop", "all alike"])
        nonsense = json.loads(json.dumps(chosen.choice(NONSENSE)))
        said.append(f"{kind} {changed[number].get('type')}.{'.'.join(map(str, path))} {str(nonsense)[:40]!r}")
        if kind == "drop":
            del inner[last]
        elif kind == "rename" and isinstance(inner, dict):
            inner[nonsense if isinstance(nonsense, str) else str(last) + EVIL] = inner.pop(last)
        elif kind == "all alike":
            for each in changed:
                if last in each:
                    each[last] = nonsense
        else:
            inner[last] = nonsense
    write(folder, changed)
    return "; ".join(said)


def mutate_bytes(chosen: random.Random, folder: Path) -> str:
    """Flip bytes of the records or of a raw file, or cut it."""
    files = sorted(path for path in folder.rglob("*") if path.name.endswith((".npy", ".jsonl")))
    path = chosen.choice([folder / "results.jsonl", chosen.choice(files)])
    content = bytearray(path.read_bytes())
    for _ in range(chosen.randint(0, 20)):
        content[chosen.randrange(len(content))] = chosen.randrange(256)
    length = chosen.choice([len(content), len(content), chosen.randrange(len(content))])
    path.write_bytes(content[:length])
    return f"{path.name}: bytes flipped, {length} of {len(content)} kept"


def mutate_lines(chosen: random.Random, folder: Path) -> str:
    """Shuffle, repeat or leave out records, or put a foreign line between them."""
    changed = records()
    head, rest = changed[:1], changed[1:]
    kind = chosen.choice(["shuffled", "some", "twice", "two runs"])
    rest = {
        "shuffled": chosen.sample(rest, len(rest)), "some": chosen.sample(rest, 5), "twice": rest * 2,
        "two runs": rest + changed,
    }[kind]  # fmt: skip
    write(folder, head + rest)
    return f"records {kind}"


@pytest.mark.parametrize("number", range(MUTATIONS))
def test_any_mutation_is_reported_or_refused_in_words(number: int, folder: Path) -> None:
    chosen = random.Random(f"{SEED} {number}")
    mutate = chosen.choices([mutate_records, mutate_bytes, mutate_lines], [8, 2, 1])[0]
    what = mutate(chosen, folder)
    began = time.process_time()
    check(folder, told)
    if number % COMPARED_EVERY == 0:
        check(folder, compared)
    assert time.process_time() - began < BOUND_S, what
    if number % PAGE_EVERY == 0:
        check(folder, lambda path: [file.read_text(encoding="utf-8") for file in render_all(path).paths.values()])
        assert time.process_time() - began < PAGE_BOUND_S, what


def evil_everywhere(value: Any, within: bool = False) -> Any:
    """Every text and, within free-form mappings, every key is hostile."""
    if isinstance(value, dict):
        free = ("params", "metrics", "warmups", "checks", "facts", "ufs", "zram", "backing", "host", "tool_versions")
        return {
            f"{key}{EVIL}" if within else key: each
            if key in ("type", "better", "raw", "caveats", "expected", "seen", "unit", "values")
            else evil_everywhere(each, key in free)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [evil_everywhere(each) for each in value]
    return EVIL if isinstance(value, str) else value


def test_markup_and_escapes_stay_text_at_every_door(folder: Path) -> None:
    write(folder, [evil_everywhere(record) for record in records()])
    rendered = render_all(folder)
    for kind, path in rendered.paths.items():
        content = path.read_bytes().decode("utf-8")
        assert CONTROL.search(content) is None, kind
        assert "RTL" in content, kind
    assert {tag for tag, _ in Page(rendered.paths["html"].read_text()).tags} & {"script", "img"} == set()
    attributes = [key for _, found in Page(rendered.paths["html"].read_text()).tags for key in found]
    assert [key for key in attributes if key.startswith("on")] == []
    assert check(folder, compared) != ""  # another phone: refused, and said without an escape


@pytest.mark.parametrize("key", ["metrics", "warmups", "raw", "params", "facts", "checks"])
def test_names_are_cleaned_like_values(folder: Path, key: str) -> None:
    changed = records()
    for record in changed:
        if key in record:
            record[key] = {f"{name}{EVIL}": value for name, value in record[key].items()}
    write(folder, changed)
    assert check(folder, told) == ""
    assert "RTL" in told(folder)[0]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t=", " ="])
def test_a_spreadsheet_runs_no_cell(folder: Path, begin: str) -> None:
    changed = records()
    for record in changed:
        if record["type"] == "run":
            record["test"] = record["title"] = f"{begin}cmd|'/C calc'!A0"
            record["params"] = {f"{begin}HYPERLINK()": f"{begin}1", "number": -1}
            record["metrics"] = {f"{begin}x": metric for metric in record["metrics"].values()}
    write(folder, changed)
    rows = list(csv.reader(render_csv(load(folder)).splitlines()))
    risky = {cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))}
    assert {cell for cell in risky if not re.fullmatch(r"-?[0-9.]+", cell)} == set()
    assert "-1" in rows[1]


def test_a_label_of_any_length_takes_no_longer(folder: Path) -> None:
    changed = records()
    for record in changed:
        if "params" in record:
            record["params"] = {k: "a" * 100_000 if isinstance(v, str) else v for k, v in record["params"].items()}
    write(folder, changed)
    began = time.process_time()
    rendered = render_all(folder)
    assert time.process_time() - began < PAGE_BOUND_S
    assert len(rendered.text) < 500_000


NUMBERS: dict[str, str] = {
    "1e308": "1e308 is not a number that can be measured",
    "5e-324": "5e-324 is not a number that can be measured",
    "1e999": "1e999 is not a number that can be measured",
    "NaN": "NaN is not a number that can be measured",
    "1" + "0" * 400: "100000000000000000000000 is not a number that can be measured",
    "9" * 5000: "999999999999999999999999 is not a number that can be measured",
}


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_beyond_all_measure_costs_its_record_and_is_named(folder: Path, text: str) -> None:
    content = (folder / "results.jsonl").read_text()
    (folder / "results.jsonl").write_text(re.sub(r'"batch_size": 32\b', f'"batch_size": {text}', content))
    problems = load(folder).problems
    assert [NUMBERS[text] in problem for problem in problems] == [True] * len(problems)
    assert len(problems) == len(re.findall(r'"batch_size": 32\b', content)) > 0
    assert check(folder, told) == ""


def fifo(path: Path) -> None:
    os.mkfifo(path)


def npy(shape: str, *, dtype: str = "<u8", data: bytes = b"\0" * 64) -> Callable[[Path], None]:
    """A file with a numpy header that says what it likes."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * ((64 - (len(text) + 11) % 64) % 64) + b"\n"
    return lambda path: void(path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data))


def void(_: object) -> None:
    """For what returns something that nobody wants."""


def sparse(path: Path, make: Callable[[Path], None] = Path.touch) -> None:
    make(path)
    os.truncate(path, 1 << 39)


def archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3))


class Runs:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch unpickled",))


FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "FIFO": (fifo, "no regular file"),
    "folder": (lambda path: path.mkdir(), "no regular file"),
    "link to a device": (lambda path: path.symlink_to("/dev/zero"), "outside of the run's folder"),
    "link to a file elsewhere": (lambda path: path.symlink_to("/etc/passwd"), "outside of the run's folder"),
    "link to its neighbour": (lambda path: path.symlink_to("fault.latency-written_back.npy"), "no regular file"),
    "link to itself": (lambda path: path.symlink_to(path.name), "not the name of a raw file"),
    "missing": (lambda path: None, "missing"),
    "10**15 values": (npy("(1000000000000000,)"), "no flat array of uint64"),
    "10**11 values": (npy("(100000000000,)"), "not a whole .npy file"),
    "10**11 values in a sparse file": (lambda path: sparse(path, npy("(100000000000,)")), "not a whole .npy file"),
    "fewer values than data": (npy("(3,)"), "not a whole .npy file"),
    "-1 values": (npy("(-1,)"), "no flat array of uint64"),
    "two dimensions": (npy("(2, 4)"), "no flat array of uint64"),
    "texts": (npy("(1,)", dtype="|S100000000"), "no flat array of uint64"),
    "code in the header": (npy("(__import__('os').system('touch unpickled'),)"), "no flat array of uint64"),
    "brackets": (lambda path: void(path.write_bytes(b"\x93NUMPY\x01\x00\x60\xea" + b"(" * 60_000)), "no flat array"),
    "a pickle": (lambda path: np.save(path, np.array([Runs()], dtype=object), allow_pickle=True), "no flat array"),
    "an archive": (archive, "no flat array of uint64"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_a_raw_file_that_is_none_becomes_one_problem(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    make, words = FILES[kind]
    (folder / RAW).unlink()
    make(folder / RAW)
    began = time.process_time()
    problems = analyse(load(folder)).problems
    assert time.process_time() - began < BOUND_S
    assert len(problems) == 1
    assert words in problems[0]
    assert not (folder / "unpickled").exists()


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "raw/../../x", "\0", "raw/" + "a" * 300, "", ".", "raw", "raw/\ud800"]
)
def test_a_raw_name_that_is_none_becomes_one_problem(folder: Path, name: str) -> None:
    changed = records()
    next(record for record in changed if record.get("raw"))["raw"] = {"fault.latency": name}
    write(folder, changed)
    assert check(folder, told) == ""
    assert len(analyse(load(folder)).problems) == 1


RECORDS: dict[str, Callable[[Path], None]] = {
    "FIFO": fifo,
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "folder": lambda path: path.mkdir(),
    "UTF-16": lambda path: void(path.write_text("{}", encoding="utf-16")),
    "deep": lambda path: void(path.write_bytes(b"[" * 200_000)),
    "sparse": sparse,
}


@pytest.mark.parametrize("kind", RECORDS)
def test_records_that_are_none_are_refused(folder: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "results.jsonl").unlink()
    RECORDS[kind](folder / "results.jsonl")
    assert main(["report", str(folder)]) == ReportError.exit_status
    assert capfd.readouterr().err.startswith("lab: ")


@pytest.mark.parametrize("path", ["a" * 300, "x\0y", "x/" * 3000])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(ReportError):
        load(Path(path))
