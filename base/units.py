"""Sizes and durations as people write them: ``64MiB``, ``2GiB``, ``30s``, ``10min``.

Sizes are binary throughout (``4G`` is 4 GiB), as in the kernel's own attributes. A decimal unit (``64MB``) is
refused instead of guessed, and so is a duration without a unit.
"""

from __future__ import annotations

import re
from decimal import Decimal
from difflib import get_close_matches

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
NS_PER_US, NS_PER_MS, NS_PER_S = 1_000, 1_000_000, 1_000_000_000

_SIZE_UNITS = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": TIB}
_SIZE_SHORT = {"K": KIB, "M": MIB, "G": GIB, "T": TIB}
_DECIMAL = {"kB": "KiB", "KB": "KiB", "MB": "MiB", "GB": "GiB", "TB": "TiB"}
_DURATION_UNITS = {"ms": Decimal("0.001"), "s": Decimal(1), "min": Decimal(60), "h": Decimal(3600)}
_DURATION_ALIASES = {"m": "min", "mins": "min", "minutes": "min", "sec": "s", "secs": "s", "seconds": "s", "hours": "h"}

SIZE_EXPECTED = "expected for example 64MiB or 2GiB"
DURATION_EXPECTED = "expected for example 500ms, 30s, 10min or 2h"

SHARE_EXPECTED = "expected per cent, for example 10 %"
SHARE_PATTERN = r"^([0-9]{1,3}(?:\.[0-9]{1,3})?) ?%$"

# 15 digits of a number are enough for a TiB in bytes, and keep a wall of digits from becoming arithmetic.
_NUMBER = r"[0-9](?:_?[0-9]){0,14}(?:\.[0-9]{1,9})?"
_QUANTITY = re.compile(rf"({_NUMBER}) ?([A-Za-z]*)")
_SHOWN = 60

SIZE_PATTERN = rf"^{_NUMBER} ?({'|'.join([*_SIZE_UNITS, *_SIZE_SHORT])})?$"
DURATION_PATTERN = rf"^{_NUMBER} ?({'|'.join(_DURATION_UNITS)})$"


def shown(value: object) -> str:
    """A value as a message quotes it: on one line and not too long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]}...{text[0]}"


def parse_size(value: object) -> int:
    """Bytes from ``64MiB``, ``4G``, ``1.5GiB`` or a plain whole number.

    Raises ValueError that names what was written and what was expected.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ValueError(f"{value} is not a size; {SIZE_EXPECTED}")
        return value
    number, unit = _split(value, "size", SIZE_EXPECTED)
    if unit in _DECIMAL:
        raise ValueError(f"{shown(value)}: {unit} is a decimal unit; sizes are binary, write {_DECIMAL[unit]}")
    factor = 1 if unit == "" else (_SIZE_UNITS | _SIZE_SHORT).get(unit)
    if factor is None:
        raise ValueError(_wrong_unit(value, unit, "size", [*_SIZE_UNITS, *_SIZE_SHORT], SIZE_EXPECTED))
    size = number * factor
    if size != int(size):
        raise ValueError(f"{shown(value)} is not a whole number of bytes; {SIZE_EXPECTED}")
    return int(size)


def format_size(size: int) -> str:
    """Bytes in the largest binary unit that states them exactly; ``parse_size`` reads it back."""
    for unit, factor in reversed(_SIZE_UNITS.items()):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def parse_duration(value: object) -> float:
    """Seconds from ``500ms``, ``30s``, ``10min`` or ``2h``; a number that is no text is in seconds already.

    Raises ValueError that names what was written and what was expected.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 <= value < float("inf"):
            raise ValueError(f"{value} is not a duration; {DURATION_EXPECTED}")
        return float(value)
    number, unit = _split(value, "duration", DURATION_EXPECTED)
    if unit == "":
        raise ValueError(f"{shown(value)} has no unit; {DURATION_EXPECTED}")
    if unit in _DURATION_ALIASES:
        raise ValueError(f"{shown(value)}: write {number}{_DURATION_ALIASES[unit]}; {DURATION_EXPECTED}")
    if unit not in _DURATION_UNITS:
        raise ValueError(_wrong_unit(value, unit, "duration", list(_DURATION_UNITS), DURATION_EXPECTED))
    return float(number * _DURATION_UNITS[unit])


def format_duration(seconds: float) -> str:
    """Seconds in the largest unit that states them as a whole number, else in ms with a fraction."""
    exact = Decimal(str(seconds))
    for unit, factor in reversed(_DURATION_UNITS.items()):
        if exact and exact % factor == 0:
            return f"{exact // factor:f}{unit}"
    return f"{(exact * 1000).normalize():f}ms" if exact else "0s"


def parse_share(value: object) -> float:
    """A share from ``10 %``; a number that is no text is a share already.

    Raises ValueError that names what was written and what was expected.
    """
    if isinstance(value, float):
        return value
    match = re.fullmatch(SHARE_PATTERN, value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{shown(value)} is not a share; {SHARE_EXPECTED}")
    return float(Decimal(match[1]) / 100)


def format_share(share: float) -> str:
    """A share in per cent; ``parse_share`` reads it back."""
    return f"{(Decimal(str(share)) * 100).normalize():f} %"


def _split(value: object, kind: str, expected: str) -> tuple[Decimal, str]:
    match = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{shown(value)} is not a {kind}; {expected}")
    return Decimal(match[1].replace("_", "")), match[2]


def _wrong_unit(value: object, unit: str, kind: str, units: list[str], expected: str) -> str:
    """Names the unit; a slip of case or a letter (``64mib``, ``2GIB``) gets the right spelling."""
    by_folded = {known.casefold(): known for known in units}
    near = get_close_matches(unit.casefold(), by_folded, n=1, cutoff=0.75)
    if near:
        return f"{shown(value)}: unknown unit {unit}; did you mean {by_folded[near[0]]}?"
    return f"{shown(value)} is not a {kind} (unknown unit {unit}); {expected}"
