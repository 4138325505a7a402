"""What a check of the regression suite expected and saw, and the record that is made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from records import tests as t
from records.model import RunResult
from workloads.bench import Bench


@dataclass(slots=True)
class Findings:
    """What one check found.

    ``wrong`` fails it. ``this_kernel`` has what is known to be a fault or a choice of some kernels: it is recorded and
    fails nothing.
    """

    checks: dict[str, dict[str, float]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    this_kernel: list[str] = field(default_factory=list)

    def expect(self, what: str, expected: int, seen: int) -> None:
        """Add a number to those of the same name; a difference fails the check."""
        check = self.checks.setdefault(what, {"expected": 0, "seen": 0})
        check["expected"] += expected
        check["seen"] += seen
        if expected != seen:
            self.wrong.append(f"{what}: expected {expected}, seen {seen}")

    def none(self, what: str, seen: int) -> None:
        """Expect that there is none of it."""
        self.expect(what, 0, seen)

    def same(self, what: str, expected: object, seen: object, *, summary: str = "answers as they must be") -> None:
        """Expect a value that is no number; all of one ``summary`` are counted together."""
        check = self.checks.setdefault(summary, {"expected": 0, "seen": 0})
        check["expected"] += 1
        check["seen"] += expected == seen
        if expected != seen:
            self.wrong.append(f"{what}: expected {expected!r}, seen {seen!r}")

    def measured(self, what: str, count: int, least: int = 1) -> None:
        """Note how often something happened that the check is about; too seldom shows nothing and fails it."""
        self.facts[what] = count
        if count < least:
            self.wrong.append(f"{what}: {count}, at least {least} are needed to show anything")

    def kernel(self, text: str) -> None:
        """Note what this kernel does that others do not."""
        self.this_kernel.append(f"this kernel: {text}")


Check = Callable[[Bench, Findings], None]


def regression_result(bench: Bench, check: str, found: Findings) -> RunResult:
    """Make the record of a check."""
    facts = {**found.facts, **({"this_kernel": found.this_kernel} if found.this_kernel else {})}
    if found.wrong:
        facts["wrong"] = found.wrong
    return RunResult(
        t.REGRESSION.name, bench.title, params={"check": check}, metrics={}, checks=found.checks, facts=facts
    )


def hold(bench: Bench, name: str, check: Check) -> None:
    """Make a check with a probe of its own and record it, also one that is broken off. AssertionError: it fails."""
    bench.progress(f"regression: {name}")
    found = Findings()
    try:
        with bench.probing(alarm_s=300) as probing:
            check(probing, found)
    finally:
        bench.record(regression_result(bench, name, found))
    assert not found.wrong, "; ".join(found.wrong[:8])
