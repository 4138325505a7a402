"""More phones at once cost no more for each; ``python -m tests.farm_cost`` measures it in full."""

from __future__ import annotations

from pathlib import Path

from tests.farm_cost import cost_of


def test_a_run_among_three_costs_this_computer_as_much_as_one_alone(tmp_path: Path) -> None:
    alone, among = (cost_of(phones, 150, tmp_path / str(phones), render=False) for phones in (1, 3))
    # The bound is wide because other tests share the computer; what grows with the number of phones is far beyond.
    assert among.run_s < 1.5 * alone.run_s
    assert among.own_s < alone.own_s
