"""What the probe sees while apps are used: a few looks a second at memory, and the writebacks that it triggers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from base.deadline import Deadline
from base.units import NS_PER_MS
from devices.probe.replies import DaemonStopped, SamplerStopped
from devices.probe.session import PROBE_FOLDER, ProbeSession
from devices.profiles.profile import Trigger
from devices.transport import Exec
from workloads.app_model import SwitchCondition
from workloads.stage import Stage
from workloads.synthetic_apps import backing_name

# Records of probe/README.md, sample-stop and daemon-stop.
SAMPLE = np.dtype(
    [(name, "<u8") for name in (
        "t_ns", "available_kib", "zram_used_kib", "swap_used_kib", "written_back_4k", "psi_some_permille",
        "psi_full_permille",
    )]
)  # fmt: skip
WRITEBACK = np.dtype([(name, "<u8") for name in ("t_ns", "end_ns", "pages_4k", "errnum")])
_INTERVAL_MS = 250
_SAMPLES = 32_768
_STOP_S = 60.0


@dataclass(slots=True)
class Watch:
    """What was seen while apps were used; filled when the scope of ``watched`` is left.

    ``samples`` and ``writebacks`` are records as above. ``daemon`` and ``marks`` stay empty without writeback.
    """

    t0_ns: int
    samples: npt.NDArray[np.void] = field(default_factory=lambda: np.empty(0, SAMPLE))
    writebacks: npt.NDArray[np.void] = field(default_factory=lambda: np.empty(0, WRITEBACK))
    sampled: SamplerStopped | None = None
    daemon: DaemonStopped | None = None
    marks: str = ""

    @property
    def totals(self) -> SamplerStopped:
        """Return what the kernel counted while apps were used."""
        assert self.sampled is not None, "the scope that fills it was not left"
        return self.sampled

    def daemon_facts(self) -> dict[str, Any]:
        """Return how the writebacks went, for a record."""
        if self.daemon is None:
            return {}
        counts = asdict(self.daemon) | {"spent": int(self.daemon.spent)}
        return {name: value for name, value in counts.items() if value is not None} | {"marks": self.marks}

    def ms(self, t_ns: npt.ArrayLike) -> npt.NDArray[np.uint64]:
        """Times of the phone's clock in ms since the run began."""
        return ((np.asarray(t_ns, dtype=np.int64) - self.t0_ns) // NS_PER_MS).astype(np.uint64)


@contextmanager
def watched(
    stage: Stage, probe: ProbeSession, condition: SwitchCondition, planned_s: float, folder: Path
) -> Iterator[Watch]:
    """Sample for this scope, and write back when ``condition`` says so; filled when the scope is left."""
    # As often as it may, but so that a run of many hours has room.
    interval_ms = max(_INTERVAL_MS, round(2 * planned_s * 1000 / _SAMPLES))
    started = probe.sample_start(
        zram=stage.zram.number, interval_ms=interval_ms, duration_s=round(2 * planned_s) + 60,
        disk=stage.disk.name if stage.disk else "none", backing=backing_name(stage),
    )  # fmt: skip
    watch = Watch(started.t_ns)
    watch.marks = _start_daemon(stage, probe, condition)
    # After an error nothing is fetched: sampling and writebacks end with the probe's session.
    yield watch
    _stop(stage, probe, condition, watch, folder)


def _start_daemon(stage: Stage, probe: ProbeSession, condition: SwitchCondition) -> str:
    """Start it unless the condition is without writeback; returns in which way it chooses slots."""
    if condition.trigger is Trigger.off:
        return ""
    apps = stage.profile.apps
    started = probe.daemon_start(
        zram=stage.zram.number, trigger=str(condition.trigger), age_s=max(1, round(apps.idle_age)),
        delay_ms=round(apps.delay * 1000), period_ms=max(1, round(apps.period * 1000)),
        limit_4k=apps.written_per_round // 4096, total_4k=stage.profile.limits.written_per_run // 4096,
    )  # fmt: skip
    return started.marks


def _stop(stage: Stage, probe: ProbeSession, condition: SwitchCondition, watch: Watch, folder: Path) -> None:
    if condition.trigger is not Trigger.off:
        remote = f"{PROBE_FOLDER}/app-writebacks.bin"
        # It waits for a writeback that runs: nothing can end it.
        watch.daemon = probe.daemon_stop(remote, seconds=stage.profile.deadlines.writeback)
        watch.writebacks = _take(stage, remote, folder, WRITEBACK)
    remote = f"{PROBE_FOLDER}/app-samples.bin"
    watch.sampled = probe.sample_stop(remote, seconds=_STOP_S)
    watch.samples = _take(stage, remote, folder, SAMPLE)


def _take(stage: Stage, remote: str, folder: Path, dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """Pull a file of records and remove it from the phone."""
    local = folder / remote.rpartition("/")[2]
    stage.device.transport.pull(remote, local, deadline=Deadline.after(_STOP_S))
    stage.device.execute(Exec(("rm", "-f", remote)))
    records: npt.NDArray[np.void] = np.fromfile(local, dtype=dtype)
    local.unlink()
    return records
