"""What the fake probe's pages hold: of the same kind, and drawn in the same order, as the real probe has them.

Contents are not made, only told apart: a page is known by its seed and its number, as real pages are by their header.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ZERO, SAME, COMPRESSIBLE, INCOMPRESSIBLE, HEAP, FILE = range(6)
KIND_NAMES = ("zero", "same", "compressible", "incompressible", "heap", "file")
# All zeros is a page of zeros: what a slot holds that nothing was written to.
CONTENT = np.dtype([("seed", "<u8"), ("page", "<u4"), ("ratio", "<u2"), ("kind", "u1"), ("damaged", "u1")])
Contents = npt.NDArray[np.void]
Numbers = npt.NDArray[np.int64]

_PERCENT = r"[0-9]{1,4}+(?:\.[0-9]|(?!\.))"
_RATIO = r"[0-9]{1,4}+(?:\.[0-9]{1,2}|(?!\.))"
_SHARE = re.compile(rf"([zsihf])({_PERCENT})|(c)({_PERCENT})(?:@({_RATIO})|(?!@))")
_GOLDEN, _FIRST, _SECOND = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_RATIO_DEFAULT, _RATIO_MIN, _RATIO_MAX = 300, 130, 2000
_MOST_SHARES, _FIRST_CORRUPT, _WHOLE = 8, 8, 1000


class BadMix(Exception):
    """A mix that the probe does not take; the text is what it says."""


@dataclass(frozen=True, slots=True)
class Share:
    """So many of a thousand pages are of a kind; the ratio, in hundredths, is of compressible ones."""

    kind: int
    permille: int
    ratio: int


def splitmix64(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the next number of each generator, whose states are these."""
    z = state + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


def parse_mix(text: str) -> list[Share]:
    """Read ``z5,s5,c60@3,i30``. Raises BadMix with the probe's words."""
    shares: list[Share] = []
    at = 0
    while True:
        match = _SHARE.match(text, at)
        share = _share(match) if match and len(shares) < _MOST_SHARES else None
        if match is None or share is None:
            raise BadMix(f"mix={text}: expected for example z5,s5,c60@3,i30 or s11.1,i8.3,h80.6 (ratio 1.3 to 20)")
        shares.append(share)
        at = match.end()
        if text[at : at + 1] != ",":
            break
        at += 1
    if at < len(text):
        raise BadMix(f'mix={text}: not understood from "{text[at:]}" on')
    if (total := sum(share.permille for share in shares)) != _WHOLE:
        raise BadMix(f"mix={text}: adds up to {total / 10:g} per cent, not to 100")
    return shares


def _share(match: re.Match[str]) -> Share | None:
    kind, permille = "zscihf".index(match[1] or match[3]), round(float(match[2] or match[4]) * 10)
    ratio = round(float(match[5]) * 100) if match[5] else _RATIO_DEFAULT
    return Share(kind, permille, ratio) if permille <= _WHOLE and _RATIO_MIN <= ratio <= _RATIO_MAX else None


def make_contents(mix: Sequence[Share], seed: int, pages: Numbers) -> Contents:
    """Return what these pages of an area or a device hold after they were filled."""
    number = pages.astype(np.uint64)
    state = splitmix64(np.uint64(seed) ^ splitmix64(number))
    point = (splitmix64(state) % np.uint64(_WHOLE)).astype(np.int64)
    bounds = np.cumsum([share.permille for share in mix])
    chosen = np.minimum(np.searchsorted(bounds, point, side="right"), len(mix) - 1)
    made = np.zeros(len(pages), CONTENT)
    made["seed"], made["page"] = np.uint64(seed), pages
    made["kind"] = np.array([share.kind for share in mix])[chosen]
    made["ratio"] = np.array([share.ratio for share in mix])[chosen]
    return made


def has_object(contents: Contents) -> npt.NDArray[np.bool_]:
    """Say which pages zram stores as such: pages of one word are kept as that word and never written back."""
    found: npt.NDArray[np.bool_] = contents["kind"] >= COMPRESSIBLE
    return found


def draw(items: Numbers, pick: int, seed: int) -> Numbers:
    """Return ``pick`` of the items in the order in which the probe draws them."""
    drawn = items.tolist()
    with np.errstate(over="ignore"):
        states = np.uint64(seed) + np.arange(pick, dtype=np.uint64) * _GOLDEN
    steps = (splitmix64(states) % (len(drawn) - np.arange(pick)).astype(np.uint64)).tolist()
    for i, step in enumerate(steps):
        drawn[i], drawn[i + step] = drawn[i + step], drawn[i]
    return np.array(drawn[:pick], dtype=np.int64)


def count_kinds(contents: Contents) -> dict[str, int]:
    """Return the fields that a fill answers with."""
    counts = np.bincount(contents["kind"], minlength=len(KIND_NAMES)).tolist()
    return {"pages": len(contents), **dict(zip(KIND_NAMES, counts, strict=True))}


def findings(expected: Contents, found: Contents) -> dict[str, object]:
    """Return the fields that a verify answers with."""
    zeros = (expected["kind"] == ZERO) & (found["kind"] == ZERO)
    same = (expected["seed"] == found["seed"]) & (expected["page"] == found["page"])
    same &= expected["kind"] == found["kind"]
    good = (same | zeros) & (found["damaged"] == 0)
    zeroed = ~good & (found["kind"] == ZERO) & (found["damaged"] == 0)
    misplaced = ~good & ~zeroed & has_object(found) & (found["damaged"] == 0)
    corrupt = np.flatnonzero(~good)
    return {
        "pages": len(found), "corrupt": len(corrupt), "zeroed": int(zeroed.sum()), "misplaced": int(misplaced.sum()),
        "damaged": len(corrupt) - int(zeroed.sum()) - int(misplaced.sum()),
        "first_corrupt": expected["page"][corrupt[:_FIRST_CORRUPT]].tolist(),
    }  # fmt: skip
