"""The tests that have a section of their own in a report, and what that section shows of them.

Whatever a section does not show appears in the general tables, so nothing that was measured is lost or told twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

THROUGHPUT = "writeback_throughput"
DEPTH = "inflight_depth"
FAULTS = "fault_latency"
FAULTS_WRITEBACK = "fault_latency_writeback"
FAULTS_LOAD = "fault_latency_load"
BACKING = "backing_variant"
COMPRESSOR = "compressor"
COMPRESSOR_FAULTS = "compressor_faults"
APP_SWITCH = "app_switch"
INTEGRITY = "data_integrity"

LATENCY = "fault.latency"
AT_DISK = "fault.disk"
AT_WORKER = "fault.worker"
MIB_PER_S = "writeback.throughput"
WALL, USER, SYS = "writeback.wall", "writeback.user_cpu", "writeback.sys_cpu"
CPU_BUSY, SWITCHES = "writeback.cpu_busy", "writeback.context_switches"
WRITEBACK_CPU = frozenset({WALL, USER, SYS, CPU_BUSY, SWITCHES})
IN_FLIGHT_MEAN, IN_FLIGHT_MAX = "writeback.inflight_mean", "writeback.inflight_max"
UNTRACED, TRACE_COST = "writeback.throughput_untraced", "trace.cost"
RATIO = "zram.ratio"
SWITCH, CONTROL = "switch.latency", "switch.control"
CORRUPT, CHECKED = "integrity.corrupt", "integrity.pages"


@dataclass(frozen=True, slots=True)
class Shown:
    """What a section shows of a test.

    ``needs`` is the figure or the samples without which a record has nothing to show there. ``one_run``: a point is one
    run and not a series of repeats, and its raw arrays are its course over time.
    """

    needs: str
    metrics: frozenset[str] = frozenset()
    facts: frozenset[str] = frozenset()
    one_run: bool = False


SHOWN: Mapping[str, Shown] = {
    THROUGHPUT: Shown(MIB_PER_S, frozenset({MIB_PER_S, WALL, USER, SYS})),
    DEPTH: Shown(
        IN_FLIGHT_MAX,
        frozenset({IN_FLIGHT_MEAN, IN_FLIGHT_MAX, MIB_PER_S, UNTRACED, TRACE_COST}),
        frozenset({"how", "device", "time_at_depth", "flags", "sync", "expected_max", "expected_from", "verdict"}),
    ),
    FAULTS: Shown(LATENCY, facts=frozenset({"probe_overhead_ns"})),
    FAULTS_WRITEBACK: Shown(LATENCY, facts=frozenset({"probe_overhead_ns", "share_in_flight"})),
    FAULTS_LOAD: Shown(LATENCY, frozenset({"load.bytes", "load.cpu_busy"}), frozenset({"probe_overhead_ns"})),
    BACKING: Shown(MIB_PER_S, WRITEBACK_CPU | {MIB_PER_S}, frozenset({"verified", "probe_overhead_ns"})),
    COMPRESSOR: Shown(MIB_PER_S, WRITEBACK_CPU | {MIB_PER_S, RATIO}),
    COMPRESSOR_FAULTS: Shown(LATENCY, facts=frozenset({"probe_overhead_ns"})),
    APP_SWITCH: Shown(
        SWITCH,
        frozenset(
            {SWITCH, CONTROL, "switch.killed", "apps.alive", "app_switch.written",
             "app_switch.write_amplification", "zram.mem_used", "zram.mem_used_mean",
             "memory.available", "memory.available_mean", "refault"}
        ),
        frozenset({"victims", "psi_total_us", "pswpin", "pswpout", "temperature_c"}),
        one_run=True,
    ),
    INTEGRITY: Shown(CORRUPT, frozenset({CORRUPT, CHECKED})),
}  # fmt: skip
