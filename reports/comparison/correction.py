"""The correction for many figures: among those that are called, few are called for nothing."""

from __future__ import annotations

from collections.abc import Sequence


def false_discovery_rates(ps: Sequence[float]) -> list[float]:
    """Each p adjusted for how many there are (Benjamini and Hochberg, 1995), in the order given."""
    order = sorted(range(len(ps)), key=lambda i: ps[i], reverse=True)
    adjusted, least = [1.0] * len(ps), 1.0
    for place, index in enumerate(order):
        least = min(least, ps[index] * len(ps) / (len(ps) - place))
        adjusted[index] = least
    return adjusted
