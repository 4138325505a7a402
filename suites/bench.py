"""What a suite test gets: a phone set up for measuring, and where its results go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from devices.probe.session import ProbeSession
from records.model import Caveat, RunResult
from workloads.stage import Stage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# A probe that outlives its test by a crash of everything else ends itself after this.
_ALARM_S = 3600


@dataclass(frozen=True, slots=True)
class Bench:
    """``title`` is the test's docstring, the row title in reports; ``seed`` decides every random choice."""

    stage: Stage
    title: str
    seed: int
    record: Callable[[RunResult], None]
    save_raw: Callable[[str, npt.NDArray[np.uint64]], str]
    progress: Callable[[str], None]

    @contextmanager
    def probe(self) -> Iterator[ProbeSession]:
        """A probe on the phone for this scope; what it holds is freed with it."""
        with self.stage.device.probe.session(alarm_s=_ALARM_S) as session:
            yield session


def with_caveats(result: RunResult, names: Sequence[str]) -> RunResult:
    """The result with these doubts too."""
    return replace(result, caveats=list(dict.fromkeys([*result.caveats, *(Caveat[name] for name in names)])))
