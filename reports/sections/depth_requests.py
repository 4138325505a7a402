"""What the writes in flight are made of: pages, merges, idle time, and how far apart they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from records import metrics as m
from reports import wording as w
from reports.cells import batch_label, case_field, figure_cell, mapping_fact, short_of, turns_field
from reports.point import Point
from reports.tables import Column, Field, Table, build

LAYER_WORDS: Mapping[str, str] = {"loop": "loop device", "disk": "disk"}
# Distances between writes, by the names that records have them under.
_STEPS = {
    "0": "next", "1": "to 60 KiB", "16": "to 1 MiB", "256": "to 16 MiB", "4096": "further", "back": "back",
}  # fmt: skip
REQUESTS_INTRO = (
    "Pages of 4 KiB in flight where the table above counts requests: a request holds several where writes were merged. "
    "Idle: share of the time from the first write to the last in which none was in flight."
)
STEPS_INTRO = (
    "Distance from the end of one write to the beginning of the next, in the order in which they were issued, in % of "
    "the writes. zram takes the first free block each time, so at its own device it only walks upwards."
)


def layer_label(point: Point) -> str:
    """The layer at which requests were seen, in words."""
    return LAYER_WORDS.get(str(point.param("layer")), w.clean(point.param("layer")))


def requests_table(points: Sequence[Point]) -> Table | None:
    """Pages, merges and idle time; None where no depth over time is known."""
    known = [point for point in points if point.value(m.IN_FLIGHT_PAGES) is not None]
    if not known:
        return None
    fields: list[Field[Point]] = [
        *case_field(known, ("batch_size", "layer")),
        Field(Column("batch"), batch_label),
        Field(Column("at the", numeric=False), layer_label),
        Field(Column("mean requests", wrap=9), short_of(m.IN_FLIGHT_MEAN)),
        Field(Column("mean pages"), lambda point: figure_cell(point, m.IN_FLIGHT_PAGES)),
        Field(Column("idle %"), lambda point: figure_cell(point, m.IDLE)),
        Field(Column("merged"), short_of(m.MERGED)),
        turns_field(m.IN_FLIGHT_PAGES),
    ]
    return build("depth-requests", "Requests, pages and idle time", REQUESTS_INTRO, fields, known)


def steps_table(points: Sequence[Point]) -> Table | None:
    """How far apart writes lie that follow each other; None where it is not known."""
    known = [point for point in points if _shares(point)]
    if not known:
        return None

    def share(name: str) -> Field[Point]:
        return Field(Column(_STEPS[name]), lambda point: _percent(_shares(point).get(name, 0.0)))

    fields = [
        *case_field(known, ("batch_size", "layer")),
        Field(Column("batch"), batch_label),
        Field(Column("at the", numeric=False), layer_label),
        *map(share, _STEPS),
    ]
    return build("depth-steps", "Distance between writes", STEPS_INTRO, fields, known)


def _shares(point: Point) -> dict[str, float]:
    found = mapping_fact(point, "sector_steps")
    return {name: float(value) for name, value in found.items() if name in _STEPS and isinstance(value, int | float)}


def _percent(share: float) -> str:
    return w.MISSING if share == 0 else "<0.1" if share < 0.001 else f"{100 * share:.1f}"
