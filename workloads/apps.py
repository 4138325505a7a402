"""Memory pressure by switching between apps: what a switch costs, who is killed, and what writeback changes of it.

Apps are started in turn until the goal is reached, then switched between: one round that only warms up, then the rounds
that count. The same seed gives the same order of switches in every condition, so conditions can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from base.errors import EnvironmentRefused
from devices.android.events import phone_time_s, read_kills
from devices.health import Health, cool_down, read_health
from devices.mapped import MAPPED
from devices.profiles.profile import AppsKind, PressureGoal, SwitchPattern, Trigger
from devices.transport import Exec, Read
from records.model import Turn
from workloads.app_model import Death, Played, Switch, SwitchCondition, Workload, made
from workloads.app_packages import package_apps
from workloads.app_watch import Watch, watched
from workloads.bench import Bench, Progress
from workloads.noise import Disturbance, Look
from workloads.stage import Stage
from workloads.switching import read_trace, rounds_of
from workloads.synthetic_apps import PROCESS_NAME, synthetic_apps
from workloads.turns import NotAvailable

# A generous guess at one switch, for room and time limits only.
_SWITCH_S = 5.0
_WEEK_S = 7 * 24 * 3600
_ALARM_S = 3600
_SWAP_HALF, _PSI_PERCENT = 0.5, 10.0


@dataclass(slots=True)
class Shared:
    """What the first condition finds out and the others keep to: apps that reach the goal, why some are left out."""

    apps: tuple[int, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class AppRun:
    """One condition as it was played; only ``rounds`` count."""

    condition: SwitchCondition
    seed: int
    workload: Workload
    sequence: Sequence[Sequence[int]]
    watch: Watch
    starts: Played
    warmup: Played
    problems: Sequence[str]
    """apps that were left out, each with its reason"""
    rounds: list[Played] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    """of each round, and whether something disturbed it"""
    alive: int = 0
    goal_reached: bool = False
    health: list[Health] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)
    """why a process was killed, by pid, where a log says it"""
    left_running: list[str] = field(default_factory=list)

    @property
    def switches(self) -> list[Switch]:
        return [switch for played in self.rounds for switch in played.switches]

    @property
    def deaths(self) -> list[Death]:
        return [death for played in (self.starts, self.warmup, *self.rounds) for death in played.deaths]


def conditions(stage: Stage) -> list[SwitchCondition]:
    """Return the profile's points: each trigger with each batch size, and once without writeback."""
    wanted = stage.profile.apps
    batches = stage.batch_sizes(wanted.batch_sizes)
    return [
        SwitchCondition(trigger, batch_size)
        for trigger in wanted.writeback
        for batch_size in ((None,) if trigger is Trigger.off else batches)
    ]


def steps_of(stage: Stage, condition: SwitchCondition) -> int:
    """Return how many steps ``run_apps`` reports for a condition."""
    return 1 + stage.profile.apps.rounds


def run_apps(bench: Bench, condition: SwitchCondition, shared: Shared) -> AppRun:
    """Play one condition, from an empty zram to an empty zram.

    Raises NotAvailable on a mapped file, ProfileError for a trace with unknown apps, EnvironmentRefused when the apps
    do not fit the phone or none of them can be started; all before anything is started.
    """
    stage, wanted = bench.stage, bench.stage.profile.apps
    if stage.backing.kind == MAPPED:
        raise NotAvailable(
            "backing.kind: mapped: what apps hold in memory would lie on flash past the phone's encryption",
            hint="give this test a backing of kind loop",
        )
    planned_s = wanted.count * (wanted.rounds + 2) * (_SWITCH_S + wanted.dwell)
    stage.as_swap(stage.pages(stage.profile.zram.disksize))
    stage.set_batch_size(condition.batch_size)
    began_s = phone_time_s(stage.device)
    alarm_s = min(_WEEK_S, max(_ALARM_S, round(4 * planned_s)))
    with bench.probing(alarm_s=alarm_s) as probing, _workload(probing) as workload:
        run = _play(probing, workload, condition, shared, planned_s)
    run.left_running = _left_running(stage)
    kills = read_kills(stage.device, since_s=began_s - 1)
    run.reasons = {kill.pid: f"{kill.by}: {kill.reason}" if kill.reason else str(kill.by) for kill in kills.kills}
    # Reads everything back that is still written back, and must succeed.
    stage.zram.reset()
    return run


@contextmanager
def _workload(bench: Bench) -> Iterator[Workload]:
    if bench.stage.profile.apps.kind is AppsKind.packages:
        with package_apps(bench) as packages:
            yield packages
    else:
        with synthetic_apps(bench) as synthetic:
            yield synthetic


def _play(bench: Bench, workload: Workload, condition: SwitchCondition, shared: Shared, planned_s: float) -> AppRun:
    stage, wanted = bench.stage, bench.stage.profile.apps
    trace: Sequence[int] = ()
    if wanted.pattern is SwitchPattern.trace and wanted.trace is not None:
        trace = read_trace(Path(wanted.trace), workload.names)
    with watched(bench, condition, planned_s) as watch:
        bench.progress(f"apps, writeback {condition}: starting them")
        starts, reached = _start(stage, workload, shared)
        apps = shared.apps
        sequence = rounds_of(wanted.pattern, len(apps), wanted.rounds, bench.seed, trace)
        if not trace:
            sequence = [tuple(apps[place] for place in places) for places in sequence]
        warmup = workload.play(apps, wanted.dwell)
        run = AppRun(
            condition, bench.seed, workload, sequence, watch, starts, warmup, shared.problems, goal_reached=reached
        )
        run.health.append(read_health(stage.device))
        for number, order in enumerate(sequence, start=1):
            bench.progress(f"apps, writeback {condition}: round {number} of {len(sequence)}")
            # Not from a partition: reads of it are compared with those that zram counts.
            before = bench.noise.look(bench.probe, stage.backing.file)
            run.rounds.append(workload.play(order, wanted.dwell))
            run.turns.append(_turn(bench, number - 1, before))
            run.health.append(_look_after(stage, bench.progress))
        run.alive = workload.alive()
        run.problems = list(dict.fromkeys([*shared.problems, *workload.problems()]))
    return run


def _turn(bench: Bench, number: int, before: Look) -> Turn:
    """Return the turn of a round that is over.

    On a phone whose host nobody can ask, the apps themselves are the other programs that take its CPUs: then only a
    clock that is held down disturbs a round.
    """
    turn = bench.noise.turn(number, before, bench.noise.look_after(bench.probe))
    if bench.noise.host is not None:
        return turn
    return replace(turn, wait=None, disturbed=[why for why in turn.disturbed if why == Disturbance.clock_low])


def _start(stage: Stage, workload: Workload, shared: Shared) -> tuple[Played, bool]:
    """Start apps in turn until the goal is reached or the list ends; after the first condition, start its apps."""
    reached = _GOALS[stage.profile.apps.goal]
    switches: list[Switch] = []
    deaths: list[Death] = []
    done = False
    for app in shared.apps or range(len(workload.names)):
        played = workload.play([app], 0)
        switches += played.switches
        deaths += played.deaths
        done = done or reached(stage, deaths)
        if done and not shared.apps:
            break
    if not shared.apps:
        shared.apps = tuple(switch.app for switch in made(switches))
        shared.problems = tuple(workload.problems())
    if not shared.apps:
        raise EnvironmentRefused(
            f"{stage.device.serial}: none of the apps could be started: {'; '.join(workload.problems())}",
            hint="name others in apps.packages, or set apps.kind to synthetic",
        )
    return Played(switches, deaths), done


def _swap_half_used(stage: Stage, deaths: Sequence[Death]) -> bool:
    swaps = stage.device.read("/proc/swaps")
    row = re.search(rf"/zram{stage.zram.number}\s+\S+\s+(\d+)\s+(\d+)", swaps)
    return row is not None and int(row[2]) >= _SWAP_HALF * int(row[1])


def _pressed(stage: Stage, deaths: Sequence[Death]) -> bool:
    (pressure,) = stage.device.execute(Read("/proc/pressure/memory"))
    if not pressure.ok:
        raise EnvironmentRefused(
            f"{stage.device.serial}: apps.goal is psi, and this kernel has no PSI", hint="choose another apps.goal"
        )
    some = re.search(r"some avg10=([\d.]+)", pressure.text)
    return some is not None and float(some[1]) >= _PSI_PERCENT


_GOALS: dict[PressureGoal, Callable[[Stage, Sequence[Death]], bool]] = {
    PressureGoal.none: lambda stage, deaths: False,
    PressureGoal.first_kill: lambda stage, deaths: any(death.killed for death in deaths),
    PressureGoal.swap_used: _swap_half_used,
    PressureGoal.psi: _pressed,
}


def _look_after(stage: Stage, progress: Progress) -> Health:
    """Let a hot phone cool between rounds; return the health that was seen before. An empty phone is an error."""
    limits = stage.profile.limits
    health = read_health(stage.device)
    if health.battery_percent is not None and health.battery_percent < limits.battery:
        raise EnvironmentRefused(
            f"{stage.device.serial}: battery at {health.battery_percent} %, limits.battery is {limits.battery} %",
            hint="charge the phone",
        )
    cool_down(stage.device, limits, progress, health)
    return health


def _left_running(stage: Stage) -> list[str]:
    (listing,) = stage.device.execute(Exec(("ps", "-A", "-o", "NAME")))
    return [name for name in listing.check().stdout.split() if name.startswith(PROCESS_NAME)]
