"""The table of commands, a line each with tabs between the cells: the help of ``./lab``, and in README."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).with_name("commands.txt")


@dataclass(frozen=True, slots=True)
class Row:
    """A command: its name, its arguments as its usage shows them, and what it does."""

    name: str
    arguments: str
    does: str


def table() -> list[Row]:
    """Every command, in the order in which they are shown."""
    return [Row(*line.split("\t")) for line in TABLE.read_text(encoding="utf-8").splitlines()]
