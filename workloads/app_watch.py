"""What the probe sees while apps are used: it looks at memory a few times a second and triggers writebacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from base.units import NS_PER_MS
from devices.probe.replies import DaemonStopped, SamplerStopped
from devices.probe.session import PROBE_FOLDER
from devices.profiles.profile import Trigger
from workloads.app_model import SwitchCondition
from workloads.bench import Bench
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
        """Convert times of the phone's clock to ms since the run began."""
        return ((np.asarray(t_ns, dtype=np.int64) - self.t0_ns) // NS_PER_MS).astype(np.uint64)


@contextmanager
def watched(bench: Bench, condition: SwitchCondition, planned_s: float) -> Iterator[Watch]:
    """Sample for this scope, and write back when ``condition`` says so; the watch is filled when the scope is left."""
    stage = bench.stage
    # As often as it may, but so that a run of many hours has room.
    interval_ms = max(_INTERVAL_MS, round(2 * planned_s * 1000 / _SAMPLES))
    started = bench.probe.sample_start(
        zram=stage.zram.number, interval_ms=interval_ms, duration_s=round(2 * planned_s) + 60,
        disk=stage.disk.name if stage.disk else "none", backing=backing_name(stage),
    )  # fmt: skip
    watch = Watch(started.t_ns)
    watch.marks = _start_daemon(bench, condition)
    # After an error nothing is fetched: sampling and writebacks end with the probe's session.
    yield watch
    _stop(bench, condition, watch)


def _start_daemon(bench: Bench, condition: SwitchCondition) -> str:
    """Start the daemon unless the condition is without writeback; return in which way it chooses slots."""
    if condition.trigger is Trigger.off:
        return ""
    stage, apps = bench.stage, bench.stage.profile.apps
    started = bench.probe.daemon_start(
        zram=stage.zram.number, trigger=str(condition.trigger), age_s=max(1, round(apps.idle_age)),
        delay_ms=round(apps.delay * 1000), period_ms=max(1, round(apps.period * 1000)),
        limit_4k=stage.limit_4k(apps.written_per_round),
        total_4k=stage.limit_4k(stage.profile.limits.written_per_run),
    )  # fmt: skip
    return started.marks


def _stop(bench: Bench, condition: SwitchCondition, watch: Watch) -> None:
    if condition.trigger is not Trigger.off:
        remote = f"{PROBE_FOLDER}/app-writebacks.bin"
        # It waits for a writeback that runs: nothing can end it.
        watch.daemon = bench.probe.daemon_stop(remote, seconds=bench.stage.profile.deadlines.writeback)
        watch.writebacks = bench.fetch(remote, WRITEBACK, watch.daemon.recorded)
    remote = f"{PROBE_FOLDER}/app-samples.bin"
    watch.sampled = bench.probe.sample_stop(remote, seconds=_STOP_S)
    watch.samples = bench.fetch(remote, SAMPLE, watch.sampled.samples)
