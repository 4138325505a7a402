"""A line of a results file that may come from anywhere: JSON with numbers and nesting of a kind that a run writes."""

from __future__ import annotations

import json
from typing import Any, NoReturn

# What is measured is far within, and what is computed from two such numbers is still a number.
LARGEST, SMALLEST = 1e30, 1e-30
LARGEST_WHOLE = 1 << 64
DEEPEST = 20


def parse_record(line: bytes) -> Any:
    """Return what a line holds. Raises ValueError that says what is wrong with it, in a few words."""
    try:
        record = json.loads(
            line.decode("utf-8"), parse_constant=_refuse, parse_float=_measurable, parse_int=_measurable_whole
        )
    except RecursionError:
        raise ValueError("nested too deep") from None
    _check_depth(record)
    return record


def _measurable(text: str) -> float:
    value = float(text)
    return value if value == 0 or SMALLEST <= abs(value) <= LARGEST else _refuse(text)


def _measurable_whole(text: str) -> int:
    return value if len(text) <= 21 and abs(value := int(text)) <= LARGEST_WHOLE else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text[:24]} is not a number that can be measured")


def _check_depth(record: Any) -> None:
    level = [record]
    for _ in range(DEEPEST):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise ValueError("nested too deep")
