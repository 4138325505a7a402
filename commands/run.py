"""``./lab run``: pytest on the suites."""

from __future__ import annotations

from commands.pytest_on import become_pytest


def main(argv: list[str]) -> int:
    """Measure; conftest.py has the options."""
    become_pytest("suites", argv)
