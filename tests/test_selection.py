"""Which tests a plan selects and in which order, asked of pytest itself; no phone is touched."""

from __future__ import annotations

import subprocess
import sys

import pytest

from base.paths import REPO

QUESTIONS = [
    "writeback_throughput", "inflight_depth", "fault_latency", "faults_during_writeback", "data_integrity",
    "app_switch", "batch_size_attribute", "writeback_limit",
]  # fmt: skip
LONGER = ["backing_variants", "compressors", "faults_under_load", "reads_during_writeback"]


def collected(*arguments: str) -> list[str]:
    """What is measured, each once, in order."""
    words = ["suites", *arguments] if not any(word.startswith("suites") for word in arguments) else arguments
    command = [sys.executable, "-m", "pytest", *words, "--collect-only", "-q", "--device", "virtual"]
    said = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True).stdout
    modules = [line.partition("::")[0] for line in said.splitlines() if "::" in line]
    return list(dict.fromkeys(module.removeprefix("suites/test_").removesuffix(".py") for module in modules))


def test_the_quick_plan_asks_its_questions_in_order() -> None:
    assert collected("--plan", "quick") == QUESTIONS


def test_longer_plans_measure_all() -> None:
    assert collected("--plan", "standard") == [*QUESTIONS, *LONGER]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("-k", "compressor or depth"), ["inflight_depth", "compressors"]),
        (("suites/test_faults_under_load.py",), ["faults_under_load"]),
        (
            ("suites/test_compressors.py::test_compressor", "suites/test_data_integrity.py"),
            ["data_integrity", "compressors"],
        ),
    ],
)
def test_what_is_asked_for_by_name_is_measured_whatever_the_plan(
    arguments: tuple[str, ...], expected: list[str]
) -> None:
    assert collected(*arguments, "--plan", "quick") == expected


def test_the_regression_suite_runs_where_it_is_asked_for_and_nowhere_else() -> None:
    rooms = [f"suites/regression/test_{name}" for name in ("blocks", "grammar", "limits", "pages", "races", "stacks")]
    assert collected("-m", "regression") == rooms
    assert collected("suites/regression/test_blocks.py") == rooms[:1]
    assert collected("-k", "grammar") == ["writeback_limit"]
