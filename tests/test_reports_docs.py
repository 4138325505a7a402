"""docs/results.md keeps its word: its records can be read, and its programs run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from records.writing import load
from tests import reports_sample as sample

REPO = Path(__file__).resolve().parent.parent
PAGE = (REPO / "docs" / "results.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
ANSWERS = ["written_back [ 490. 1020", "True ()"]


def test_the_records_on_the_page_can_be_read(tmp_path: Path) -> None:
    records = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    (tmp_path / "results.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    run = load(tmp_path)
    assert [record["type"] for record in records] == ["session", "run", "outcome", "end"]
    assert (len(run.runs), len(run.outcomes), run.complete, run.problems) == (1, 1, True, ())


@pytest.mark.parametrize(("program", "answer"), list(zip(PROGRAMS, ANSWERS, strict=True)))
def test_the_programs_on_the_page_run(program: str, answer: str, tmp_path: Path) -> None:
    sample.write_run(tmp_path / "results")
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert answer in done.stdout


def test_every_metric_of_a_run_is_explained(produced_run: Path) -> None:
    run = load(produced_run)
    names = {name for result in run.runs for name in (*result.metrics, *result.raw)}
    assert {name for name in names if f"`{name}`" not in PAGE} == set()


def test_every_test_of_a_run_is_explained_with_its_parameters(produced_run: Path) -> None:
    results = load(produced_run).runs
    tests = {
        result.test: {key for each in results if each.test == result.test for key in each.params} for result in results
    }
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*)$", PAGE.split("## Tests")[1].split("\n### ")[0], re.MULTILINE))
    assert tests.keys() - rows.keys() == set()
    assert {(test, key) for test, keys in tests.items() for key in keys if f"`{key}`" not in rows[test]} == set()
