"""One row a metric, one row a test: complete, told once, and documented."""

from __future__ import annotations

import ast
from collections import defaultdict

import pytest

from base.documents import with_part
from base.paths import REPO
from records.courses import COURSES, Course
from records.documents import COMMAND, FILE, with_tables
from records.metrics import METRICS, THROUGHPUT, Quantity, Values, row_of
from records.model import Metric
from records.parameters import PARAMETERS
from records.tests import TESTS, MeasuredTest

STALE = f"run: .venv/bin/{COMMAND}"


def test_the_tables_of_the_document_are_current() -> None:
    document = FILE.read_text(encoding="utf-8")
    assert document == with_tables(document), STALE


@pytest.mark.parametrize(
    "damage", ["<!-- metrics: written by python -m records.documents -->\n", "<!-- end of metrics"]
)
def test_a_document_without_a_marker_is_refused_by_name(damage: str) -> None:
    with pytest.raises(ValueError, match="no part 'metrics'"):
        with_tables(FILE.read_text(encoding="utf-8").replace(damage, ""))


def test_a_part_is_made_anew_and_the_rest_stays() -> None:
    document = "a\n<!-- x: written by me -->\nold\n<!-- end of x -->\nb\n"
    assert with_part(document, "x", "me", "new\n") == "a\n<!-- x: written by me -->\n\nnew\n\n<!-- end of x -->\nb\n"


@pytest.mark.parametrize("row", METRICS.values(), ids=lambda row: row.name)
def test_a_metric_says_what_it_is(row: Quantity) -> None:
    assert [bool(text.strip()) for text in (row.name, row.unit, row.words, row.about)] == [True] * 4


@pytest.mark.parametrize("row", [*COURSES.values(), *TESTS.values()], ids=lambda row: row.name)
def test_an_array_and_a_test_say_what_they_are(row: Course | MeasuredTest) -> None:
    assert row.about.strip()


def test_no_two_rows_have_one_name_or_the_same_words() -> None:
    names = [*METRICS, *COURSES]
    assert sorted(names) == sorted(set(names))
    words = [row.words for row in METRICS.values()]
    assert sorted(words) == sorted(set(words))


def test_each_parameter_belongs_to_a_test_and_says_what_it_is() -> None:
    used = {id(param) for test in TESTS.values() for param in test.params}
    assert [row.key for row in PARAMETERS if id(row) not in used or not row.about] == []


def test_a_producer_names_the_metric_and_nothing_else() -> None:
    assert THROUGHPUT.of([1.0]) == {"writeback.throughput": Metric("MiB/s", "higher", [1.0])}


@pytest.mark.parametrize(
    ("unit", "judged", "needs_repeats", "has_speed"),
    [("s", True, True, True), ("requests", False, True, False), ("x", True, True, False), ("B", False, False, False)],
)
def test_a_metric_of_another_version_is_taken_by_its_unit(
    unit: str, judged: bool, needs_repeats: bool, has_speed: bool
) -> None:
    row = row_of("warp.factor", unit, "higher")
    assert (row.words, row.values, row.is_sampled) == ("warp.factor", Values.repeats, False)
    assert (row.judged, row.needs_repeats, row.has_speed) == (judged, needs_repeats, has_speed)


ROOMS = ("records", "reports", "workloads", "suites", "devices")
PRODUCT = [path for room in ROOMS for path in sorted((REPO / room).rglob("*.py"))]


def test_the_name_of_a_metric_stands_in_one_file() -> None:
    """Whoever writes or reads it names the row, so that a misspelt one fails the type check."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in [REPO / "conftest.py", *PRODUCT]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and (node.value in METRICS or node.value in COURSES):
                found[str(node.value)].add(str(path.relative_to(REPO)))
    assert found.keys() == METRICS.keys() | COURSES.keys()
    assert {name: files for name, files in found.items() if len(files) > 1} == {}


def test_a_metric_without_a_row_cannot_be_recorded() -> None:
    made = [
        f"{path.relative_to(REPO)}:{node.lineno}"
        for path in PRODUCT
        if path.parent != REPO / "records"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "Metric"
    ]
    assert made == [], "make a row in records/metrics.py and write ROW.of(values)"
