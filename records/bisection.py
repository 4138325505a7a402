"""Which of an ordered list of sides is the first that is worse than the first of all: a binary search whose steps are
sessions, each with a verdict that may be wrong with a stated chance, or may be missing.

It is taken for granted that all sides before the one that is looked for are as good as the first, and all from there on
are worse.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from records.sequential import FALSE_ALARM, MISSED, SideVerdict

MOST_UNDECIDED = 3
"""sides in a row that could not be decided, after which a further neighbour is not tried: the noise is theirs all"""


@dataclass(slots=True)
class Bisection:
    """The search among ``sides`` many, of which the last is known to be worse than the first.

    ``good`` is the last side that is known to be no worse, ``bad`` the first that is known to be worse; both are
    indices. ``undecided`` are sides that no verdict was had of, in order of time.
    """

    sides: int
    good: int = 0
    bad: int = field(init=False)
    decided: int = 0
    undecided: list[int] = field(default_factory=list)
    _in_a_row: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for fewer than two sides."""
        if self.sides < 2:
            raise ValueError(f"{self.sides} sides; a search needs two at least")
        self.bad = self.sides - 1

    @property
    def most_steps(self) -> int:
        """Return how many steps are needed at most from the first on, where each is decided."""
        return (self.sides - 2).bit_length()

    @property
    def is_found(self) -> bool:
        """Say whether ``bad`` is the one that is looked for."""
        return self.bad - self.good == 1

    @property
    def next_side(self) -> int | None:
        """Return the side to try now: the middle one, or its nearest neighbour that was not tried; None at the end."""
        left = [side for side in range(self.good + 1, self.bad) if side not in self.undecided]
        if not left or self._in_a_row >= MOST_UNDECIDED:
            return None
        return min(left, key=lambda side: (abs(2 * side - self.good - self.bad), side))

    def take(self, verdict: SideVerdict) -> None:
        """Go on from what a session said of ``next_side`` against the first side. Raises ValueError at the end."""
        side = self.next_side
        if side is None:
            raise ValueError("the search has ended")
        if verdict is SideVerdict.undecided:
            self.undecided.append(side)
            self._in_a_row += 1
            return
        self._in_a_row = 0
        self.decided += 1
        if verdict is SideVerdict.worse:
            self.bad = side
        else:
            self.good = side

    @property
    def wrong_turn(self) -> float:
        """Return the chance that any verdict so far was wrong, at most: a share, the sum over all sessions.

        The last side was taken for worse, wrongly with at most ``FALSE_ALARM`` where it equals the first. Each further
        side is worse by the least relevant difference or is not, and is taken for the other with at most ``MISSED``.
        """
        return min(1.0, FALSE_ALARM + self.decided * MISSED)
