"""Sizes and durations as fields of a profile: read from text, bounded, written back as text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

from base.units import (
    DURATION_PATTERN,
    SHARE_PATTERN,
    SIZE_PATTERN,
    format_duration,
    format_share,
    format_size,
    parse_duration,
    parse_share,
    parse_size,
    shown,
)


@dataclass(frozen=True, slots=True)
class SizeRange:
    """Validator: a size within ``low``..``high`` bytes and a multiple of ``multiple`` bytes."""

    low: int
    high: int
    multiple: int = 1

    def __call__(self, size: int) -> int:
        if not self.low <= size <= self.high:
            asked = f"expected {format_size(self.low)} to {format_size(self.high)}"
            raise ValueError(f"{format_size(size)} is out of range; {asked}")
        if size % self.multiple:
            raise ValueError(f"{format_size(size)} is not a multiple of {format_size(self.multiple)}")
        return size


@dataclass(frozen=True, slots=True)
class DurationRange:
    """Validator: a duration within ``low``..``high`` seconds."""

    low: float
    high: float

    def __call__(self, seconds: float) -> float:
        if not self.low <= seconds <= self.high:
            asked = f"expected {format_duration(self.low)} to {format_duration(self.high)}"
            raise ValueError(f"{format_duration(seconds)} is out of range; {asked}")
        return seconds


Bytes = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size, return_type=str, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": SIZE_PATTERN}, {"type": "integer", "minimum": 0}]}),
]
"""A size in bytes, written with a binary unit."""

Seconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN}),
]
"""A duration in seconds, written with a unit."""


def _within_reach(share: float) -> float:
    if not 0.001 <= share <= 1:
        raise ValueError(f"{format_share(share)} is out of range; expected 0.1 % to 100 %")
    return share


Share = Annotated[
    float,
    BeforeValidator(parse_share),
    AfterValidator(_within_reach),
    PlainSerializer(format_share, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": SHARE_PATTERN}),
]
"""A share of one, written in per cent."""


_PERCENT = r"[0-9]{1,3}(?:\.[0-9])?"
_MIX_SHARE = re.compile(rf"[zsihf]({_PERCENT})|c({_PERCENT})(?:@([0-9]{{1,2}}(?:\.[0-9]{{1,2}})?))?")
_MOST_SHARES, _LONGEST, _LEAST_RATIO, _MOST_RATIO = 8, 63, 1.3, 20.0


def _adds_up(mix: str) -> str:
    shares = [_MIX_SHARE.fullmatch(share) for share in mix.split(",")]
    good = (
        len(shares) <= _MOST_SHARES
        and len(mix) <= _LONGEST
        and all(share and _LEAST_RATIO <= float(share[3] or _MOST_RATIO) <= _MOST_RATIO for share in shares)
    )
    if not good or sum(round(float(share[1] or share[2]) * 10) for share in shares if share) != 1000:
        raise ValueError(f"{shown(mix)} is not a mix that adds up to 100, for example s11.1,i8.3,h60,c20.6@20")
    return mix


Mix = Annotated[str, AfterValidator(_adds_up)]
"""Shares of pages in per cent, as probe/README.md has them."""
