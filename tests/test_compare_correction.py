"""The correction for many figures."""

from __future__ import annotations

from reports.comparison.correction import false_discovery_rates


def test_the_correction_of_a_known_example() -> None:
    # Benjamini and Hochberg (1995), section 3.2: at 5 % the first four of these fifteen are found.
    ps = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528]
    ps += [0.7590, 1.0]
    assert [q <= 0.05 for q in false_discovery_rates(ps)] == [True] * 4 + [False] * 11
    assert false_discovery_rates(ps[::-1]) == false_discovery_rates(ps)[::-1]
    assert false_discovery_rates([]) == []
