"""A bench for tests of workloads: what is recorded and saved on it stays in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from records.model import RunResult
from workloads.bench import Bench
from workloads.budget import RoundsPlan
from workloads.stage import Stage


@dataclass(slots=True)
class Kept:
    """What a measurement left."""

    records: list[RunResult] = field(default_factory=list)
    raw: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    traces: dict[str, bytes] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)

    def save_raw(self, name: str, samples: npt.NDArray[np.uint64]) -> str:
        """Keep samples under their name."""
        self.raw[name] = samples
        return f"raw/{name}.npy"

    def save_trace(self, name: str, packed: bytes) -> str:
        """Keep block events under their name."""
        self.traces[name] = packed
        return f"raw/{name}.trace.gz"


def bench_on(stage: Stage, folder: Path, *, seed: int = 4711) -> tuple[Bench, Kept]:
    """Return a bench with this stage, and what will be left on it."""
    kept = Kept()
    rounds = RoundsPlan(fewest=5, most=5)
    return Bench(
        stage, "title", seed, folder, kept.records.append, kept.save_raw, kept.steps.append, rounds=rounds,
        save_trace=kept.save_trace,
    ), kept  # fmt: skip
