"""Several machines: measured one after the other with one seed, each against the first, and side by side at the end."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from base.errors import EXIT_REFUSED, ProfileError
from farm.launcher import Launcher, machine_name, machines
from records.reading import load
from reports.matrix import machine_run, report_matrix
from tests import fake_machine
from tests.conftest import REPO

CHILD = f"""
import sys
sys.path.insert(0, {str(REPO)!r})
from tests.fake_machine import main
sys.exit(main(sys.argv[1:]))
"""


def launch(results: Path, *, devices: tuple[str, ...] = (), seed: int | None = None, **options: list[str]) -> Launcher:
    words = [f"--{key.replace('_', '-')}={value}" for key, values in options.items() for value in values]
    return Launcher(words, devices, machines(options), seed, results, None, (sys.executable, "-c", CHILD))


def rows_of(folder: Path) -> dict[str, str]:
    """Each machine's row of matrix.txt as one line, what was wrapped put together."""
    rows: dict[str, str] = {}
    body = (folder / "matrix.txt").read_text(encoding="utf-8").split("---\n", 2)[-1].split("\n\n")[0]
    for line in body.splitlines():
        if not line.startswith(" "):
            rows[line.split()[0]] = ""
        rows[list(rows)[-1]] += f" {line}"
    return {name: " ".join(text.split()) for name, text in rows.items()}


def test_machines_are_every_combination_of_what_was_named() -> None:
    assert machines({"kernel": [], "arch": [], "page_size": []}) == [{}]
    found = machines({"kernel": ["7.3", "6.12"], "arch": ["arm64"], "page_size": ["4k", "16k"]})
    names = [machine_name(each, found) for each in found]
    assert names == ["7.3-4k", "7.3-16k", "6.12-4k", "6.12-16k"]
    assert all(each["arch"] == "arm64" for each in found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": ["7.3", "7.3"]}, "several machines must differ"),
        ({"kernel": ["7.3", "6.12"], "devices": ("virtual", "pixel-8")}, "of one virtual phone"),
        ({"kernel": ["7.3", "5.10"], "page_size": ["16k"]}, "no virtual phone is auto with pages of 16 KiB"),
        ({"kernel": ["7.3", "6.12"], "devices": ("pixel-8",)}, "pixel-8 is not a virtual phone's"),
    ],
)
def test_what_cannot_be_measured_together_is_refused_before_anything_is(
    tmp_path: Path, options: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(ProfileError) as refused:
        launch(tmp_path / "results", **options).run()  # type: ignore[arg-type]
    assert message in str(refused.value)
    assert not (tmp_path / "results").exists()


def test_each_machine_is_measured_with_one_seed_and_compared_with_the_first(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status = launch(tmp_path, kernel=["6.12", "7.3", "5.10"]).run()
    said = capfd.readouterr()
    (folder,) = tmp_path.iterdir()
    runs = {name: load(next((folder / name).iterdir())) for name in ("6.12", "7.3", "5.10")}
    assert len({run.session.seed for run in runs.values()}) == 1
    assert [runs[name].session.provenance.kernel_release.split(".4+")[0] for name in runs] == list(runs)
    assert [f"machine {n} of 3" in said.err for n in (1, 2, 3)] == [True] * 3
    assert "6.12 (BASE) against 7.3 (CAND)" in said.out
    assert "6.12 (BASE) against 5.10 (CAND)" in said.out
    assert {each.name for each in folder.glob("*.*ml")} == {"compare-7.3.html", "compare-5.10.html", "matrix.html"}
    assert (folder / "matrix.txt").read_text(encoding="utf-8") in said.out
    assert status in (0, 1), said.err


def test_the_seed_that_was_asked_for_is_every_machines(tmp_path: Path) -> None:
    launch(tmp_path, seed=77, kernel=["6.12", "7.3"]).run()
    assert {load(found.parent).session.seed for found in tmp_path.glob("*/*/*/results.jsonl")} == {77}


def test_page_sizes_are_compared_with_each_other(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    launch(tmp_path, page_size=["4k", "16k"]).run()
    said = capfd.readouterr()
    assert "may not be compared" not in said.err
    assert "page size 4 KiB -> 16 KiB" in " ".join(said.out.split())


def test_a_machine_that_cannot_be_had_has_a_row_and_the_others_are_measured(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status = launch(tmp_path, kernel=["7.3", fake_machine.NOT_THERE, "6.12"]).run()
    (folder,) = tmp_path.iterdir()
    assert set(rows_of(folder)) == {"7.3", fake_machine.NOT_THERE, "6.12"}
    assert f"no run: exit status {EXIT_REFUSED}" in rows_of(folder)[fake_machine.NOT_THERE]
    assert "7.3 (BASE) against 6.12 (CAND)" in capfd.readouterr().out
    assert status in (1, EXIT_REFUSED)


def test_without_the_first_machine_nothing_is_compared(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert launch(tmp_path, kernel=[fake_machine.NOT_THERE, "7.3", "6.12"]).run() == EXIT_REFUSED
    assert "(BASE)" not in capfd.readouterr().out


def test_a_row_answers_each_question_and_says_what_was_skipped(tmp_path: Path) -> None:
    runs = [machine_run(name, fake_machine.store(tmp_path / name, name).parent, 0) for name in ("7.3", "6.12", "5.10")]
    text = " ".join(report_matrix(runs, tmp_path).split())
    rows = rows_of(tmp_path)
    assert " 32 x 4 KiB 50.0 MiB/s" in rows["7.3"]
    assert " none 8.00 MiB/s" in rows["6.12"]
    assert "0 of 8192" in rows["5.10"]
    assert "1 passed, 2 " in rows["5.10"]
    assert "aarch64, 4 KiB" in rows["7.3"]
    assert [bool(re.search(r" 4[89]\d ", row)) for row in rows.values()] == [True, True, False], rows
    assert f"5.10 skipped: Page fault latency and Every page is unchanged [swap] ({fake_machine.SKIPS})" in text
    assert "this kernel has no writeback_batch_size" in text


def test_the_page_shows_what_the_text_shows(tmp_path: Path) -> None:
    fake_machine.store(tmp_path / "<b>", "7.3")
    report_matrix([machine_run("<b>", tmp_path / "<b>", 0)], tmp_path)
    page = (tmp_path / "matrix.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;" in page
    assert "50.0 MiB/s" in page
    assert "<b>" not in page


def test_a_command_line_is_told_as_it_was_typed(tmp_path: Path) -> None:
    """./lab puts pytest's settings and the folder of the suites before what a person typed."""
    added = ["--rootdir", "/x", "-c", "/x/pyproject.toml", str(REPO / "suites")]
    launcher = Launcher([*added, "--plan", "quick", "-k", "depth or integrity"], (), machines({}), 1, tmp_path, None)
    assert launcher.typed == "./lab run --plan quick -k 'depth or integrity'"
