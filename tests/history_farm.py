"""A shelf of phones that were never measured: runs as the index keeps them, with figures from a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from farm.history.figures import Followed, Watched
from farm.history.folder import FolderRun, RunKind
from farm.history.index import HistoryIndex

KIND = RunKind("pixel-8", "6.1.99-android14", "google/shiba/shiba:14/AP1A", "nightly")
CONTROL = Watched("fault_latency", 'comp_algorithm="lz4" slot="ram"', "fault.latency", "p50", "ns", "lower")
SERIES = (
    CONTROL,
    Watched("writeback_throughput", 'batch_size=32 order="sparse"', "writeback.throughput", "", "MiB/s", "higher"),
    Watched("fault_latency", 'comp_algorithm="lz4" slot="written_back"', "fault.latency", "p99", "ns", "lower"),
)
FIRST = 9_800  # 2026-10-31
_HOUR_S = 3_600.0
_NIGHT_S = 24 * _HOUR_S
# The evening of night 0, 22 o'clock of UTC; good enough for the order of runs.
_BEGAN_S = 946_764_000.0


@dataclass(frozen=True, slots=True)
class Shelf:
    """Phones of one kind. ``step`` is what each series but the control is worse by, from night ``since`` on."""

    kind: RunKind = KIND
    phones: int = 12
    series: Sequence[Watched] = SERIES
    step: float = 0.0
    since: int = FIRST
    seed: int = 7
    version: str = "v1 5f1d2c3b"
    prefix: str = "P"

    def night(self, night: int, common: float = 0.0) -> Iterator[tuple[str, FolderRun]]:
        """The runs of one night, each with its folder; ``common`` is what all series are worse by, control as well."""
        rng = np.random.default_rng([self.seed, night])
        for phone in range(self.phones):
            serial = f"{self.prefix}{phone:04}"
            worse = common + rng.normal(0, 0.03, len(self.series)) + self.step * (night >= self.since)
            figures = [
                self._figure(series, phone, worse[n] - self.step * (night >= self.since) * series.is_control)
                for n, series in enumerate(self.series)
            ]
            started = _BEGAN_S + night * _NIGHT_S + phone
            run = FolderRun(serial, self.kind, night, started, 0, self.version, 300.0, 1 << 30, {}, [], figures)
            yield f"{night}-{serial}", run

    def _figure(self, series: Watched, phone: int, worse: float) -> Followed:
        level = 100.0 * (1 + 0.1 * phone) * np.exp(worse if series.better == "lower" else -worse)
        return Followed(series, 8, float(level), float(level * 0.97), float(level * 1.03), True)


def in_doubt(run: FolderRun) -> FolderRun:
    """The same run with a doubt on every figure."""
    return replace(run, caveats=["noisy_host"], figures=[replace(each, used=False) for each in run.figures])


def fill(index: HistoryIndex, shelf: Shelf, nights: range, common: float = 0.0) -> None:
    """Index what a shelf measured in these nights; ``common`` is a change that all phones have."""
    for night in nights:
        with index.writing():
            for folder, run in shelf.night(night, common):
                index.add(folder, run)
