"""What a run produces: the records of ``results.jsonl`` (schema 2, see docs/results.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

SCHEMA = 2
# Before schema 2 a record had no turns, and intervals were of samples.
READ_SCHEMAS = (1, SCHEMA)

Better = Literal["higher", "lower"]


class Caveat(StrEnum):
    """A doubt about a number: what was seen, what it may mean, what to try."""

    virtual = "measured on a virtual phone: a functional test; no figure or ratio of it may be quoted"
    emulated_cpu = "the CPU is emulated (TCG): what is bound by the CPU is far too slow, against storage too"
    first_run_slow = "the first run, without a warm-up before it, was much slower: file blocks being allocated?"
    few_samples = "too few samples for an interval at this quantile: raise the number of samples"
    few_repeats = "fewer than 5 turns: the interval is wide or missing; a longer --budget or more `repeats` make more"
    throttled = "the CPU's maximum frequency was lowered during the run: let the phone cool down"
    other_writer = "another program wrote zram pages back during the run: stop it (docs/profiles.md)"
    buffered_io = "the backing loop device uses buffered I/O: the page cache hides the storage"
    no_batch_size = "this kernel has no writeback_batch_size: its only point, one page at a time, was measured"
    no_page_index = "this kernel cannot write single pages back (page_index, from 5.12): page faults were not measured"
    noisy_host = "the host was busy with other work while the virtual phone was measured"
    sampled_depth = "no block events to be had: depth is a mean from time_in_queue and a maximum that sampling may miss"
    load_ended_early = "the load reached its bound while faults were still timed: some of them met a quiet phone"
    other_tracer = "another program was tracing meanwhile: it was left alone and may have cost time"
    unstopped_writer = "a daemon of the phone that writes zram pages back could not be stopped for the run"
    too_hot = "the phone was warmer than the profile allows: it did not cool down in time"
    apps_crashed = "an app crashed or could not be started: it is left out"
    keyguard_unknown = "the phone does not say whether its lock screen was in front of the apps: look at it"
    incomplete_run = "the run was cut off: what was measured until then"
    disturbed = "other work disturbed too many turns of this point: no sentence rests on it"
    short_writeback = "a timed writeback took less than 0.3 s: start and end weigh more than they should"
    write_booster = "UFS's WriteBooster was on and its buffer not seen full: this is the buffer's rate, not the flash's"
    differs_elsewhere = "another test measured the same and differs by more than the intervals: neither is that sure"
    samples_as_repeats = "a run of schema 1: its intervals take samples for repeats and are too narrow"
    clock_off = "the phone's clock and this computer's disagree by more than 0.5 %: every time and rate is in doubt"
    phone_clock_missing = "the phone's shell has no clock to time itself: phone time is counted as wire time"


@dataclass(frozen=True, slots=True)
class Provenance:
    """What was measured, on what. ``None`` means unknown, never zero."""

    serial: str
    device: str
    manufacturer: str | None
    model: str | None
    build: str | None
    kernel_release: str
    kernel_build: str
    arch: str
    page_size_bytes: int
    ram_bytes: int
    cpus: int
    ufs: Mapping[str, str | None]
    zram_attributes: Sequence[str]
    capabilities: Sequence[str]
    zram: Mapping[str, Any]
    backing: Mapping[str, Any]
    profile: str
    profile_sha256: str
    virtual: bool
    accelerator: str | None
    git_commit: str | None
    tool_versions: Mapping[str, str]
    host: Mapping[str, Any]
    root_style: str
    selinux: str | None

    @property
    def caveats(self) -> tuple[Caveat, ...]:
        """Return the doubts that follow from what was measured: an emulated CPU's figures are no phone's."""
        if not self.virtual:
            return ()
        is_emulated = (self.accelerator or "").lower().startswith("tcg")
        return (Caveat.virtual, Caveat.emulated_cpu) if is_emulated else (Caveat.virtual,)


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured quantity with its unit, direction and every value in order of measurement."""

    unit: str
    better: Better
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Turn:
    """One visit to a point: one writeback, or one block of faults.

    ``round``, from 0, is the same for all points that were visited together: ratios are formed within it. A round may
    have several turns of a point: a disturbed one is measured again. ``t_s`` is when it began, by the phone's monotonic
    clock. ``disturbed`` holds the reasons why it enters no figure; empty for a quiet turn. ``wait`` is the share of its
    time for which the phone's CPUs had to wait for somebody else. The controls are what a fixed stretch of CPU work and
    fixed direct reads of 4 KiB from the backing file took just before, in ns. None means unknown.
    """

    round: int
    t_s: float
    disturbed: Sequence[str] = ()
    wait: float | None = None
    control_cpu_ns: int | None = None
    control_read_ns: int | None = None


@dataclass(frozen=True, slots=True)
class RunResult:
    """One point of a sweep. ``raw`` maps a metric to a .npy file of samples, relative to the run's folder.

    ``turns`` are in order of time, disturbed ones among them. Metrics of one value per repeat have one for each turn;
    raw samples have an array beside them, ``fault.turn`` beside ``fault.latency``, with the index of each sample's turn
    in ``turns``. A point that was measured at one go has no turns, nor has any of schema 1.

    ``warmups`` have the shape of ``metrics`` and never enter a figure. ``checks`` are the cross-checks with the
    kernel's own counters: name -> {"expected": n, "seen": n}. ``facts`` is what else was read at this point.
    """

    test: str
    title: str
    params: Mapping[str, Any]
    metrics: Mapping[str, Metric]
    raw: Mapping[str, str] = field(default_factory=dict)
    warmups: Mapping[str, Metric] = field(default_factory=dict)
    checks: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    caveats: Sequence[Caveat] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    turns: Sequence[Turn] = ()


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """How one test ended: passed, failed, skipped or error, with the reason if it did not pass."""

    test: str
    title: str
    outcome: str
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Session:
    """First record of a run: who asked for what, on which phone. ``command`` is the command line; empty: not known."""

    run_id: str
    started_utc: str
    plan: str
    seed: int
    requested: Sequence[str]
    provenance: Provenance
    caveats: Sequence[Caveat] = ()
    command: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """Last record of a run. A file without it belongs to a run that was killed.

    ``wall_time_s`` maps ``total``, ``phone``, ``wire``, ``host``, ``boot`` and ``image_build`` to seconds.
    """

    exit_status: int
    ended_utc: str
    wall_time_s: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
