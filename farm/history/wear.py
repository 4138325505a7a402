"""What measuring wears: bytes written to each phone's storage by week, and what its UFS says of its own life."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from farm.history.folder import date_of
from farm.history.index import HistoryIndex

WEEK = 7
# After two thirds of a week's budget a plan that writes less keeps the phone in use.
_CHEAPER_FROM = 2 / 3


@dataclass(frozen=True, slots=True)
class PhoneWear:
    """One phone over the last seven nights. ``life`` is the newest of what UFS says; ``life_steps`` how it changed.

    ``share`` is of the week's budget, None without one. ``advice``: ``as planned``, ``cheaper plan`` or ``rest``.
    """

    serial: str
    runs: int
    written_bytes: int
    share: float | None
    advice: str
    life: Mapping[str, str | None]
    life_steps: Sequence[str]


def wear(
    index: HistoryIndex, *, budget_bytes: int | None = None, night: int | None = None, serial: str | None = None
) -> list[PhoneWear]:
    """The wear of each phone, or of one, in the week up to a night (the last one); what wrote most is first."""
    if night is None:
        ((night,),) = index.rows("SELECT max(night) FROM run")
    if night is None:
        return []
    phones = {number: name for number, name in index.phones().items() if serial in (None, name)}
    one = next(iter(phones), None) if serial else None
    written = {
        phone: (count, total)
        for phone, count, total in index.rows(
            "SELECT phone, count(*), sum(written) FROM run WHERE night > ? AND night <= ? AND phone = ifnull(?, phone) "
            "GROUP BY phone", night - WEEK, night, one,
        )
    }  # fmt: skip
    lives: dict[int, list[tuple[int, dict[str, str | None]]]] = {}
    for phone, since, life in index.rows("SELECT phone, night, life FROM life WHERE night <= ? ORDER BY night", night):
        lives.setdefault(phone, []).append((since, json.loads(life)))
    return sorted(
        (
            _wear(name, *written.get(phone, (0, 0)), budget_bytes, lives.get(phone, []))
            for phone, name in phones.items()
        ),
        key=lambda each: (-each.written_bytes, each.serial),
    )


def weeks(index: HistoryIndex, serial: str) -> list[tuple[str, int, int]]:
    """Each week of one phone: the evening it began on, how many runs, and the bytes that they wrote."""
    return [
        (date_of(week * WEEK), count, written)
        for week, count, written in index.rows(
            "SELECT r.night / ?, count(*), sum(r.written) FROM run r JOIN phone p ON p.id = r.phone "
            "WHERE p.serial = ? GROUP BY 1 ORDER BY 1", WEEK, serial,
        )
    ]  # fmt: skip


def _wear(
    serial: str, runs: int, written: int, budget: int | None, lives: Sequence[tuple[int, Mapping[str, str | None]]]
) -> PhoneWear:
    share = written / budget if budget else None
    advice = "as planned" if share is None or share < _CHEAPER_FROM else "cheaper plan" if share < 1 else "rest"
    steps = [
        f"{date_of(night)}: {name} {before.get(name)} -> {after[name]}"
        for (_, before), (night, after) in pairwise(lives)
        for name in after
        if after[name] != before.get(name)
    ]
    return PhoneWear(serial, runs, written, share, advice, lives[-1][1] if lives else {}, steps)
