"""A table as data: built by a section, printed as text by reports/text.py and as HTML by the template."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from records.model import Caveat
from reports import wording as w

MARKS = "abcdefghijklmnopqrstuvwxyz"


class Doubted(Protocol):
    """A row's source: whatever has doubts of its own."""

    @property
    def caveats(self) -> tuple[Caveat, ...]: ...


Source = TypeVar("Source", bound=Doubted)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its head, whether it holds numbers, and a width to wrap at in text."""

    head: str
    numeric: bool = True
    wrap: int | None = None


@dataclass(frozen=True, slots=True)
class Field(Generic[Source]):
    """A column and how to fill it from what a row is made of."""

    column: Column
    cell: Callable[[Source], str]


@dataclass(frozen=True, slots=True)
class Table:
    """``intro`` says what the figures are, ``notes`` what belongs to them, ``doubts`` what may be wrong with them.

    The first column names the row.
    """

    key: str
    title: str
    intro: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    def shown_columns(self) -> list[int]:
        """The first column, which names the row, and every other that holds something in at least one row."""
        filled = (any(row[i] not in ("", w.MISSING) for row in self.rows) for i in range(len(self.columns)))
        return [i for i, holds_something in enumerate(filled) if i == 0 or holds_something]

    def has_heads(self) -> bool:
        """False for a plain list of names and values."""
        return any(column.head for column in self.columns)


class Doubts:
    """Gives each caveat a letter, in order of appearance within one table."""

    def __init__(self) -> None:
        self._marks: dict[Caveat, str] = {}

    def marks(self, caveats: Iterable[Caveat]) -> str:
        """The letters of these caveats, for a cell."""
        return " ".join(sorted(self._marks.setdefault(c, MARKS[len(self._marks)]) for c in caveats))

    def notes(self) -> tuple[str, ...]:
        """What each letter stands for."""
        return tuple(f"{mark}: {caveat.value}" for caveat, mark in self._marks.items())


def build(
    key: str,
    title: str,
    intro: str,
    fields: Sequence[Field[Source]],
    sources: Iterable[Source],
    notes: Sequence[str] = (),
) -> Table:
    """A table with one row per source, its doubts as letters in the last column and spelt out below."""
    doubts = Doubts()
    rows = tuple((*(each.cell(source) for each in fields), doubts.marks(source.caveats)) for source in sources)
    columns = (*(each.column for each in fields), Column("doubts", numeric=False))
    return Table(key, title, intro, columns, rows, tuple(notes), doubts.notes())
