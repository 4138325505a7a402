"""Numbers, units and foreign strings as people read them."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from base.kernel import PAGE_4K
from base.text import clean as printable
from records.parameters import BY_KEY

MISSING = "-"
# The longest text of one cell, and of one parameter, of which several stand in a title or beside a plot.
LONGEST, LONGEST_PARAM = 2_000, 300

MIB_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def number(value: float | None, digits: int = 3) -> str:
    """Return at least ``digits`` significant digits: 0.0412, 7.03, 50.1, 490, 12345; an exponent beyond all measure."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    if not 1e-9 < abs(value) < 1e18:
        return f"{value:.{digits - 1}e}"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    # Rounding may add a digit in front (9.996 -> 10.00): ask again with the rounded value.
    decimals = digits - 1 - math.floor(math.log10(abs(round(value, decimals))))
    return f"{value:.{max(0, decimals)}f}"


def count(value: float | None) -> str:
    """A whole number as it is; a fraction (a mean of counts) like any number."""
    if value is None:
        return MISSING
    return str(int(value)) if value == int(value) and abs(value) < 1e18 else number(value)


def bounded(value: float | None, low: float | None = None, high: float | None = None, gap: str = " ") -> str:
    """A figure and its interval, ``49.8 [46.3, 50.3]``, all to two significant digits of the interval's half width.

    Without an interval, or with one of no width, to three significant digits.
    """
    if value is None or low is None or high is None:
        return number(value)
    half = (high - low) / 2
    if not 1e-9 < abs(value) < 1e18 or not half > 1e-12 * abs(value):
        return f"{number(value)}{gap}{span(low, high)}"
    first = math.floor(math.log10(abs(value)))
    # At least one digit of the value, at most four.
    decimals = min(max(1 - math.floor(math.log10(half)), -first), 3 - first)
    told, below, above = (f"{round(each, decimals):.{max(0, decimals)}f}" for each in (value, low, high))
    return f"{told}{gap}[{below}, {above}]"


def span(low: float | None, high: float | None) -> str:
    """Two ends of an interval in brackets."""
    return MISSING if low is None or high is None else f"[{number(low)}, {number(high)}]"


def size(value: Any) -> str:
    """Bytes in the largest binary unit that keeps them short: 33554432 is ``32 MiB``."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return clean(value)
    for factor, unit in MIB_UNITS:
        if abs(value) >= factor:
            scaled = value / factor
            return f"{count(round(scaled, 2))} {unit}"
    return f"{value:g} B"


def pages_and_counters(page_bytes: int) -> str:
    """``pages of 16 KiB; counters of 4 KiB``: zram's counters and limits have a unit of their own."""
    pages = f"pages of {size(page_bytes)}"
    return pages if page_bytes == PAGE_4K else f"{pages}; counters of {size(PAGE_4K)}"


def duration(seconds: float) -> str:
    """``9.1 s`` or, from two minutes on, ``4 min 10 s``."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def param(key: str, value: Any) -> str:
    """The value of a parameter, for a table's cell."""
    if key.endswith("_bytes"):
        return size(value)
    row = BY_KEY.get(key)
    if row is not None and isinstance(value, Hashable) and value in row.values:
        return row.values[value]
    return clean(value, LONGEST_PARAM)


def params(chosen: Mapping[str, Any], without: Iterable[str] = ()) -> str:
    """All parameters in one line: ``data 32 MiB, pages incompressible``."""
    hidden = set(without)
    return ", ".join(f"{param_words(key)} {param(key, value)}" for key, value in chosen.items() if key not in hidden)


def param_words(key: str) -> str:
    """What a parameter is called in a title or at the head of a column."""
    row = BY_KEY.get(key)
    return row.words if row and row.words else clean(key, LONGEST_PARAM)


def clean(value: Any, most: int = LONGEST) -> str:
    """Return any value as one line of printable text, cut at ``most`` characters: strings come from phones."""
    if value is None:
        return "unknown"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return printable(" ".join((text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}").split()))


def listing(items: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *head, last = list(items) or [""]
    return f"{', '.join(head)} and {last}" if head else last
