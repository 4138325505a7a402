"""``./lab test``: pytest on the project's own tests."""

from __future__ import annotations

from base.children import run_together
from base.errors import EXIT_FAILED
from commands.pytest_on import become_pytest, pytest_command

_ON_ALL_CORES = ("-n", "auto", "--dist", "loadfile")


def main(argv: list[str]) -> int:
    """Run the tests named; without arguments all of them, those without a phone first."""
    if argv:
        # A phone gets the computer for itself, the other tests share it.
        become_pytest("tests", [*_ON_ALL_CORES, *argv] if "not phone" in argv else argv)
    others = _run("-m", "not phone", *_ON_ALL_CORES)
    if others not in (0, EXIT_FAILED):
        return others
    return _run("-m", "phone") or others


def _run(*arguments: str) -> int:
    (status,) = run_together([pytest_command("tests", arguments)])
    return status if status >= 0 else 128 - status
