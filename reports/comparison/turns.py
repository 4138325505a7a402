"""What of a record enters a comparison: the values and samples of undisturbed turns, and how many turns were not.

A record without turns (schema 1, or measured at one go) enters as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from base.errors import ReportError
from records.metrics import Quantity
from records.metrics import Values as Kept
from records.model import RunResult, Turn
from records.reading import StoredRun

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]
    Numbers = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class RunValues:
    """What one run has of one figure, in order of time.

    ``values`` are one a repeat, or samples. ``turns`` are the samples of each undisturbed turn; None where samples
    cannot be told by turn. ``quiet`` and ``disturbed`` count the turns of the record.
    """

    values: Values
    turns: tuple[Values, ...] | None = None
    quiet: int = 0
    disturbed: int = 0


def repeats(result: RunResult, row: Quantity, values: Sequence[float]) -> RunValues:
    """The values of undisturbed turns. Raises ReportError where values and turns do not match."""
    import numpy as np

    found = np.asarray(values, dtype=float)
    if not result.turns or row.values not in (Kept.repeats, Kept.steady):
        return RunValues(found)
    if found.size != len(result.turns):
        raise ReportError(f"{row.name} has {found.size} values for {len(result.turns)} turns")
    quiet = _quiet(result.turns)
    return RunValues(found[quiet], None, int(quiet.sum()), int((~quiet).sum()))


def samples(run: StoredRun, result: RunResult, name: str, values: Numbers | Sequence[float]) -> RunValues:
    """Samples, turn by turn where the record tells. Raises ReportError where disturbed ones cannot be told."""
    import numpy as np

    found = np.asarray(values, dtype=float)
    if not result.turns:
        return RunValues(found)
    quiet = _quiet(result.turns)
    counts = int(quiet.sum()), int((~quiet).sum())
    beside = _turn_array(name)
    numbers = run.samples(result, beside) if beside in result.raw else None
    if numbers is None or numbers.size != found.size:
        if counts[1]:
            raise ReportError(f"{name}: which samples are of disturbed turns cannot be told ({beside})")
        return RunValues(found, None, *counts)
    if numbers.size and int(numbers.max()) >= len(result.turns):
        raise ReportError(f"{beside}: a turn that the record does not have")
    of_turn = numbers.astype(np.intp)
    kept, of_turn = found[quiet[of_turn]], of_turn[quiet[of_turn]]
    order = np.argsort(of_turn, kind="stable")
    _, begins = np.unique(of_turn[order], return_index=True)
    parts = np.split(kept[order], begins[1:]) if kept.size else []
    return RunValues(kept, tuple(parts), *counts)


def _quiet(turns: Sequence[Turn]) -> npt.NDArray[np.bool_]:
    import numpy as np

    return np.array([not turn.disturbed for turn in turns], dtype=bool)


def _turn_array(name: str) -> str:
    """``fault.turn`` beside ``fault.latency``."""
    return f"{name.partition('.')[0]}.turn"
