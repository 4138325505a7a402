"""Turns a played condition into its record; docs/app-switch.md says what each name means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from base.kernel import SECTOR, SECTORS_PER_4K
from base.units import MIB, NS_PER_MS
from devices.android.screen import Keyguard
from devices.health import Health, throttled
from devices.profiles.profile import Trigger
from records import courses as c
from records import metrics as m
from records import tests as t
from records.model import Caveat, Metric, RunResult
from workloads.app_model import Death, Switch, SwitchKind, made
from workloads.apps import AppRun
from workloads.bench import Bench
from workloads.rounds import doubts_about
from workloads.stage import Stage
from workloads.switching import sequence_sha256


def app_switch_result(bench: Bench, run: AppRun) -> RunResult:
    """Make the record of one condition; samples are saved on the way."""
    stage, condition = bench.stage, run.condition
    return RunResult(
        test=t.APP_SWITCH.name,
        title=bench.title,
        params={
            "kind": run.workload.kind, "pattern": str(stage.profile.apps.pattern), "writeback": str(condition.trigger),
            "batch_size": condition.batch_size, "apps": len(run.warmup.switches),
        },
        metrics=_metrics(run),
        warmups=_latencies(run.warmup.switches),
        raw={name: bench.save_raw(f"app-switch-{condition}-{name}", values) for name, values in _raw(run).items()},
        checks=_checks(run),
        caveats=_caveats(stage, run),
        facts=_facts(stage, run),
        turns=run.turns,
    )  # fmt: skip


def _latencies(switches: Sequence[Switch]) -> dict[str, Metric]:
    return m.SWITCH_LATENCY.of([switch.latency_ns / NS_PER_MS for switch in made(switches)])


def written_back_4k(run: AppRun) -> int:
    """Return what zram wrote to its backing device, in 4 KiB, by bd_stat."""
    return run.watch.totals.written_4k


def flash_reads_4k(run: AppRun) -> int:
    """Return what zram read from its backing device, in 4 KiB, by bd_stat."""
    return run.watch.totals.read_4k


def _metrics(run: AppRun) -> dict[str, Metric]:
    watch, totals = run.watch, run.watch.totals
    written = totals.disk_written_sectors * SECTOR
    metrics = (
        _latencies(run.switches)
        | m.KILLED.of([sum(death.killed for death in run.deaths)])
        | m.ALIVE.of([run.alive])
        | m.FLASH_WRITTEN.of([written / MIB])
        | m.ZRAM_MEMORY.of([int(watch.samples["zram_used_kib"].max()) / 1024])
        | m.ZRAM_MEMORY_MEAN.of([_mean_while_switching(run, "zram_used_kib") / 1024])
        | m.AVAILABLE.of([int(watch.samples["available_kib"].min()) / 1024])
        | m.AVAILABLE_MEAN.of([_mean_while_switching(run, "available_kib") / 1024])
    )
    if totals.refault is not None:
        metrics |= m.REFAULTS.of([totals.refault])
    controls = [one.control_ns / NS_PER_MS for one in made(run.switches)]
    if controls and all(controls):
        metrics |= m.SWITCH_CONTROL.of(controls)
    if pages := written_back_4k(run):
        metrics |= m.WRITE_AMPLIFICATION.of([written / (pages * 4096)])
    return metrics


def _mean_while_switching(run: AppRun, name: str) -> float:
    """Return the mean of the samples since the first switch that counts; the last sample if none came after it."""
    samples = run.watch.samples
    begin = min((switch.t_ns for switch in run.switches), default=0)
    chosen = samples[name][samples["t_ns"] >= begin]
    return float(chosen.mean() if chosen.size else samples[name][-1])


def _raw(run: AppRun) -> dict[str, npt.NDArray[np.uint64]]:
    watch, samples = run.watch, run.watch.samples
    switches, kills = made(run.switches), [death for death in run.deaths if death.killed]
    of_switches = {
        c.SWITCH_NS: "latency_ns", c.SWITCH_APP: "app", c.SWITCH_KIND: "kind", c.SWITCH_MAJOR_FAULTS: "majflt",
        c.SWITCH_FLASH_PAGES: "flash_4k", c.SWITCH_SLOWEST_NS: "slowest_ns", c.SWITCH_CONTROL_NS: "control_ns",
    }  # fmt: skip
    of_samples = {
        c.SAMPLE_AVAILABLE: "available_kib", c.SAMPLE_ZRAM_MEMORY: "zram_used_kib", c.SAMPLE_SWAP_USED: "swap_used_kib",
        c.SAMPLE_WRITTEN_BACK: "written_back_4k", c.SAMPLE_PSI_SOME: "psi_some_permille",
        c.SAMPLE_PSI_FULL: "psi_full_permille",
    }  # fmt: skip
    courses: dict[c.Course, npt.ArrayLike] = {
        **{row: [getattr(one, key) for one in switches] for row, key in of_switches.items()},
        c.SWITCH_TURN: [turn for turn, played in enumerate(run.rounds) for _ in made(played.switches)],
        c.SWITCH_AT: watch.ms([one.t_ns for one in switches]),
        c.SWITCH_KILLS: _kills_before(switches, kills),
        c.SAMPLE_AT: watch.ms(samples["t_ns"]),
        **{row: samples[key] for row, key in of_samples.items()},
        c.SAMPLE_ALIVE: _alive_at(run, samples["t_ns"]),
        c.KILL_AT: watch.ms([death.t_ns for death in kills]),
        c.KILL_APP: [death.app for death in kills],
        c.WRITEBACK_AT: watch.ms(watch.writebacks["t_ns"]),
        c.WRITEBACK_PAGES: watch.writebacks["pages_4k"],
    }
    return {row.name: _array(values) for row, values in courses.items()}


def _kills_before(switches: Sequence[Switch], kills: Sequence[Death]) -> npt.NDArray[np.int64]:
    """Return how many apps were killed between each switch and the one before it; for the first, since the start."""
    return np.diff(np.searchsorted(sorted(one.t_ns for one in kills), [one.t_ns for one in switches]), prepend=0)


def _alive_at(run: AppRun, t_ns: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """Return how many apps ran at each of these times: those that were started less those that died since."""
    played = (run.starts, run.warmup, *run.rounds)
    born = [(one.t_ns + one.latency_ns, one.app, 1) for part in played for one in made(part.switches)]
    died = [(one.t_ns, one.app, 0) for one in run.deaths]
    state: dict[int, int] = {}
    times, counts = [0], [0]
    for at_ns, app, there in sorted(born + died):
        state[app] = there
        times.append(at_ns)
        counts.append(sum(state.values()))
    return _array(np.asarray(counts)[np.searchsorted(times, t_ns, side="right") - 1])


def _array(values: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    return np.asarray(values, dtype=np.uint64)


def _checks(run: AppRun) -> dict[str, Mapping[str, float]]:
    """Compare the backing device's own counter with zram's: both count every page that was read."""
    read = run.watch.totals.backing_read_sectors // SECTORS_PER_4K
    return {"pages read from flash (bd_stat)": {"expected": read, "seen": flash_reads_4k(run)}}


def _caveats(stage: Stage, run: AppRun) -> list[Caveat]:
    doubts = {
        Caveat.no_batch_size: run.condition.trigger is not Trigger.off and not stage.has_batch_size,
        Caveat.buffered_io: stage.backing.direct_io is False,
        Caveat.apps_crashed: bool(run.problems) or any(not death.killed for death in run.deaths),
        Caveat.keyguard_unknown: run.workload.facts().get("keyguard") == Keyguard.unknown,
        # All that was written back since the sampler began was ours.
        Caveat.other_writer: written_back_4k(run) != int(run.watch.writebacks["pages_4k"].sum()),
        Caveat.too_hot: any(health.hotter_than(stage.profile.limits.temperature) for health in run.health),
        Caveat.throttled: any(throttled(run.health[0], health) for health in run.health[1:]),
    }
    return [*doubts_about(run.turns), *(caveat for caveat, there in doubts.items() if there)]


def _facts(stage: Stage, run: AppRun) -> dict[str, Any]:
    watch, totals = run.watch, run.watch.totals
    return {
        "sequence_sha256": sequence_sha256(run.sequence),
        "seed": run.seed,
        "apps": list(run.workload.names),
        "goal": str(stage.profile.apps.goal),
        "goal_reached": run.goal_reached,
        "start_ms": [round(switch.latency_ns / NS_PER_MS, 1) for switch in run.starts.switches],
        "victims": _victims(run),
        "missed": [switch.app for switch in run.switches if switch.kind is SwitchKind.missed],
        "corrupt": corrupt(run),
        "problems": list(run.problems),
        "sampler_cpu_share": round(totals.cpu_ns / totals.wall_ns, 5),
        "samples_missed": totals.missed,
        "psi_total_us": {"some": totals.psi_some_us, "full": totals.psi_full_us},
        "pswpin": totals.pswpin,
        "pswpout": totals.pswpout,
        "refault_anon": totals.refault_anon,
        "refault_file": totals.refault_file,
        "pgmajfault": totals.pgmajfault,
        "written_back_4k": written_back_4k(run),
        "flash_reads_4k": flash_reads_4k(run),
        "daemon": watch.daemon_facts(),
        **_heat(run.health),
        **run.workload.facts(),
    }


def corrupt(run: AppRun) -> int:
    """Return how many pages did not hold what was written to them, over all switches."""
    return sum(switch.corrupt for played in (run.starts, run.warmup, *run.rounds) for switch in played.switches)


def _victims(run: AppRun) -> list[dict[str, Any]]:
    names = run.workload.names
    return [
        {
            "app": names[death.app],
            "t_ms": int(run.watch.ms([death.t_ns])[0]),
            "reason": run.reasons.get(death.pid, death.reason),
        }
        for death in run.deaths
    ]


def _heat(health: Sequence[Health]) -> dict[str, Any]:
    seen = [one.temperature_c for one in health if one.temperature_c is not None]
    ends = {"before": health[0].temperature_c, "after": health[-1].temperature_c, "max": max(seen, default=None)}
    clocks = {
        name: {"now_khz": cpu.now_khz, "cap_khz": cpu.cap_khz, "most_khz": cpu.most_khz}
        for name, cpu in health[-1].cpus.items()
    }
    return {"temperature_c": ends, "clocks": clocks}
