"""What a measurement is given: the stage and the probe to measure with, and where its records and samples go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from base.deadline import Deadline
from base.errors import DeviceError
from devices.probe.session import ProbeSession
from records.model import Caveat, RunResult
from workloads.budget import RoundsPlan
from workloads.noise import NoiseWatch
from workloads.stage import Stage

Progress = Callable[[str], None]
SaveTrace = Callable[[str, bytes], str]
SaveRaw = Callable[[str, npt.NDArray[np.uint64]], str]

# A probe that outlives its test by a crash of everything else ends itself after this.
_ALARM_S = 3600
_PULL_S = 60.0


def kept_nowhere(name: str, packed: bytes) -> str:
    """Keep no block events, where nobody keeps what is measured."""
    return ""


def silent(step: str) -> None:
    """Tell nobody about a step."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The stage with all that a measurement on it needs.

    ``title`` is the row title in reports. ``seed`` decides every random choice. ``folder`` is for temporary files.
    ``record`` writes a record. ``save_raw`` keeps samples, ``save_trace`` packed block events; both return the path for
    the record. ``progress`` is called once for each step. ``noise`` says of each turn whether it was disturbed;
    ``rounds`` is how long rounds may go on.
    """

    stage: Stage
    title: str
    seed: int
    folder: Path
    record: Callable[[RunResult], None]
    save_raw: SaveRaw
    progress: Progress = silent
    session: ProbeSession | None = None
    noise: NoiseWatch = field(default_factory=NoiseWatch)
    rounds: RoundsPlan = field(default_factory=RoundsPlan)
    save_trace: SaveTrace = kept_nowhere

    @property
    def probe(self) -> ProbeSession:
        """Return the running probe; one runs in the scope of ``probing``."""
        if self.session is None:
            raise RuntimeError("no probe is running: measure within `with bench.probing() as bench`")
        return self.session

    @contextmanager
    def probing(self, *, alarm_s: int = _ALARM_S) -> Iterator[Bench]:
        """Start a probe for this scope and yield the bench with it; what the probe holds is freed with it."""
        with self.stage.device.probe.session(alarm_s=alarm_s) as session:
            yield replace(self, session=session)

    def on(self, stage: Stage) -> Bench:
        """Return the same bench with another stage."""
        return replace(self, stage=stage)

    def fetch(self, remote: str, dtype: np.dtype[np.void], count: int) -> npt.NDArray[np.void]:
        """Return the records in a file that the probe wrote, and remove the file from the phone.

        Raises DeviceError when the file does not hold exactly ``count`` records.
        """
        local, device = self.folder / remote.rpartition("/")[2], self.stage.device
        device.transport.pull(remote, local, deadline=Deadline.after(_PULL_S), remove=True)
        size = local.stat().st_size
        if size != count * dtype.itemsize:
            raise DeviceError(
                f"{device.serial}: {remote} has {size} bytes, {count} records of {dtype.itemsize} bytes were announced",
                hint="is the phone's storage full, or was the file written by another probe?",
            )
        records: npt.NDArray[np.void] = np.fromfile(local, dtype=dtype)
        local.unlink()
        return records


def with_caveats(result: RunResult, names: Sequence[str]) -> RunResult:
    """Return the result with these doubts too."""
    return replace(result, caveats=list(dict.fromkeys([*result.caveats, *(Caveat[name] for name in names)])))
