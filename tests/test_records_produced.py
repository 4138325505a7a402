"""What workloads write against what the tables of records promise and what the sections of a report read.

The records are those of the workloads themselves, so a fact, parameter or metric that is renamed on one side is missed
here, without a phone.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from records.courses import COURSES
from records.metrics import METRICS
from records.model import RunResult
from records.reading import StoredRun, load
from records.tests import BACKING, TESTS, MeasuredTest
from reports import sections as rooms
from reports.analysis import analyse
from reports.contents import sections
from reports.sections.backing import VERIFIED_WORDS
from reports.sections.section import SectionModule

EACH_TEST = pytest.mark.parametrize("test", TESTS.values(), ids=lambda test: test.name)
MODULES: list[SectionModule] = [
    module
    for found in pkgutil.iter_modules(rooms.__path__)
    if hasattr(module := importlib.import_module(f"{rooms.__name__}.{found.name}"), "SHOWS")
]


@pytest.fixture(scope="module")
def run(produced_run: Path) -> StoredRun:
    return load(produced_run)


def of(run: StoredRun, test: MeasuredTest) -> Sequence[RunResult]:
    found = [result for result in run.runs if result.test == test.name]
    assert found, f"no workload writes {test.name}"
    return found


def measured(results: Sequence[RunResult]) -> set[str]:
    return {name for result in results for name in (*result.metrics, *result.raw)}


def test_each_record_is_of_a_test_with_a_row(run: StoredRun) -> None:
    assert {result.test for result in run.runs} == TESTS.keys()


@EACH_TEST
def test_a_record_has_the_parameters_of_its_row_and_no_others(run: StoredRun, test: MeasuredTest) -> None:
    keys = {param.key for param in test.params}
    assert [result.params for result in of(run, test) if result.params.keys() != keys] == []


@EACH_TEST
def test_a_value_with_a_name_is_one_of_its_parameter(run: StoredRun, test: MeasuredTest) -> None:
    named = {param.key: param.values.keys() for param in test.params if len(param.values) > 1}
    used = {(key, result.params[key]) for result in of(run, test) for key in named}
    assert {(key, value) for key, value in used if value not in named[key]} == set()


@EACH_TEST
def test_the_facts_of_a_row_are_written(run: StoredRun, test: MeasuredTest) -> None:
    written = {name for result in of(run, test) for name in result.facts}
    assert test.fact_names - written == set()


@EACH_TEST
def test_what_a_section_cannot_do_without_is_written(run: StoredRun, test: MeasuredTest) -> None:
    assert test.needs is None or test.needs.name in measured(of(run, test))


def test_what_is_written_has_a_row_and_each_row_is_written(run: StoredRun) -> None:
    assert measured(run.runs) == METRICS.keys() | COURSES.keys()


def test_the_metrics_that_a_section_shows_are_written_by_its_test(run: StoredRun) -> None:
    shown = {(test.name, row.name) for module in MODULES for test, rows in module.SHOWS.items() for row in rows}
    written = {(test.name, name) for test in TESTS.values() for name in measured(of(run, test))}
    assert shown - written == set()


class Asked(dict[str, Any]):
    """A mapping that notes which of its keys somebody asks for by name, those of mappings in it too."""

    def __init__(self, known: dict[str, Any], note: set[str], path: str = "") -> None:
        super().__init__({key: _asked(value, note, f"{path}{key}") for key, value in known.items()})
        self._note, self._path = note, path

    def get(self, key: str, default: Any = None) -> Any:
        self._note.add(f"{self._path}{key}")
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self._note.add(f"{self._path}{key}")
        return super().__getitem__(key)


def _asked(value: Any, note: set[str], path: str) -> Any:
    if isinstance(value, dict):
        return Asked(value, note, f"{path}.")
    return [_asked(each, note, path) for each in value] if isinstance(value, list) else value


def paths(known: Any, path: str = "") -> Iterator[str]:
    """The names in a mapping, and those of mappings in it behind a dot."""
    for key, value in known.items():
        yield f"{path}{key}"
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                yield from paths(each, f"{path}{key}.")


@dataclasses.dataclass
class Noted:
    """The names that sections asked for, of parameters and of facts, by test."""

    params: dict[str, set[str]] = dataclasses.field(default_factory=lambda: defaultdict(set))
    facts: dict[str, set[str]] = dataclasses.field(default_factory=lambda: defaultdict(set))

    def listening(self, result: RunResult) -> RunResult:
        facts = Asked(dict(result.facts), self.facts[result.test])
        return dataclasses.replace(result, facts=facts, params=Asked(dict(result.params), self.params[result.test]))


@pytest.fixture(scope="module")
def read(run: StoredRun) -> Noted:
    noted = Noted()
    sections(analyse(dataclasses.replace(run, runs=tuple(map(noted.listening, run.runs)))))
    return noted


@EACH_TEST
def test_what_a_section_reads_is_written(run: StoredRun, read: Noted, test: MeasuredTest) -> None:
    written = {path for result in of(run, test) for path in paths(result.facts)}
    assert read.params[test.name] - {param.key for param in test.params} == set()
    assert read.facts[test.name] - written == set()
    assert test.fact_names - read.facts[test.name] == set(), "a fact of the row that no section reads"


def test_what_has_words_in_the_table_of_backing_devices_is_written(run: StoredRun) -> None:
    written = {name for result in of(run, BACKING) for name in result.facts.get("verified", {})}
    assert VERIFIED_WORDS.keys() - written == set()
