"""What is measured: one row a metric. A new metric is a row here; nothing else knows its name, unit or nature.

Measuring code writes ``THROUGHPUT.of(values)``. Reports and comparisons read the row. docs/results.md is made from it
(``python -m records.documents``). A run of another version may hold metrics without a row: ``row_of`` makes one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from records.model import Better, Metric

# What is counted is the same at every repeat, or nearly so: one value says it all.
COUNTS = frozenset({"pages", "4 KiB", "count", "bytes", "B"})
# Neither a time nor a rate: a first value that stands out is no slow start.
_WITHOUT_SPEED = frozenset({"requests", "4 KiB pages", "%", "x"})
# Units of which a comparison makes no verdict where it knows nothing else.
_WITHOUT_VERDICT = COUNTS | {"requests", "4 KiB pages", "%"}


class Values(StrEnum):
    """How many values a record holds of a metric, and where."""

    repeats = "one per repeat"
    steady = "one per repeat, all alike"
    once = "one per point"
    events = "one per event"
    samples = "raw, one per event"


@dataclass(frozen=True, slots=True)
class Quantity:
    """One metric. ``words`` is its name in a sentence, ``about`` says how it is measured.

    ``judged``: a comparison has a verdict for it. What follows from another figure, or is measured once per run, has
    none. ``must_be_zero``: any other value is a fault of what was measured.
    """

    name: str
    unit: str
    better: Better
    values: Values
    words: str
    about: str
    judged: bool = False
    must_be_zero: bool = False

    def of(self, values: Sequence[float]) -> dict[str, Metric]:
        """Return these values under the metric's name, as ``RunResult.metrics`` takes them; join several with ``|``."""
        return {self.name: Metric(self.unit, self.better, values)}

    @property
    def is_sampled(self) -> bool:
        """Whether the values are samples of one distribution, which quantiles describe."""
        return self.values in (Values.events, Values.samples)

    @property
    def needs_repeats(self) -> bool:
        """Whether a median of few values is a doubtful one."""
        return self.values is Values.repeats and self.unit not in COUNTS

    @property
    def has_speed(self) -> bool:
        """Whether a first value that stands out may be a slow start."""
        return self.needs_repeats and self.unit not in _WITHOUT_SPEED


def row_of(name: str, unit: str, better: Better) -> Quantity:
    """Return the row of a stored metric; of a name without one, a row as its unit suggests."""
    return METRICS.get(name) or Quantity(name, unit, better, Values.repeats, name, "", unit not in _WITHOUT_VERDICT)


THROUGHPUT = Quantity(
    "writeback.throughput", "MiB/s", "higher", Values.repeats, "writeback throughput",
    "pages written back, over the time of the write to the attribute", judged=True,
)  # fmt: skip
UNTRACED = Quantity(
    "writeback.throughput_untraced", "MiB/s", "higher", Values.repeats, "writeback throughput without tracing",
    "the same without a trace of block events, where the other was traced",
)  # fmt: skip
WALL = Quantity(
    "writeback.wall", "s", "lower", Values.repeats, "time of a writeback", "real time of the write to the attribute"
)
USER_CPU = Quantity(
    "writeback.user_cpu", "s", "lower", Values.repeats, "user CPU time of writeback",
    "CPU time of the writing thread in user space",
)  # fmt: skip
SYS_CPU = Quantity(
    "writeback.sys_cpu", "s", "lower", Values.repeats, "system CPU time of writeback",
    "CPU time of the writing thread in the kernel",
)  # fmt: skip
CPU_BUSY = Quantity(
    "writeback.cpu_busy", "s", "lower", Values.repeats, "time that CPUs were busy",
    "all CPUs together, whatever they did, while the attribute was written",
)  # fmt: skip
CPU_WRITER = Quantity(
    "writeback.cpu_writer", "us", "lower", Values.repeats, "the writer's CPU time per page",
    "of the writing thread, by the scheduler's accounting, over the pages of 4 KiB that it wrote back",
)  # fmt: skip
CPU_LOOP = Quantity(
    "writeback.cpu_loop", "us", "lower", Values.repeats, "the loop worker's CPU time per page",
    "of the kernel threads that serve the loop device, by the scheduler's accounting",
)  # fmt: skip
CPU_ALL = Quantity(
    "writeback.cpu_all", "us", "lower", Values.repeats, "CPU time per page",
    "of all CPUs together while the attribute was written, by the scheduler's accounting", judged=True,
)  # fmt: skip
CONTEXT_SWITCHES = Quantity(
    "writeback.context_switches", "count", "lower", Values.repeats, "context switches of the writing thread",
    "voluntary and involuntary ones of the one thread that wrote the attribute, not of the phone",
)  # fmt: skip
PER_CPU_SECOND = Quantity(
    "writeback.per_cpu_second", "MiB/s", "higher", Values.repeats, "writeback per second of CPU time",
    "MiB written back over user and system CPU time of the writing thread",
)  # fmt: skip
WRITTEN = Quantity(
    "writeback.written",
    "4 KiB",
    "higher",
    Values.repeats,
    "what was written back",
    "as the kernel counts it, in 4 KiB on every page size",
)
IN_FLIGHT_MEAN = Quantity(
    "writeback.inflight_mean", "requests", "higher", Values.repeats, "mean of writes in flight",
    "writes issued and not yet complete at that layer, over the time of the writeback",
)  # fmt: skip
IN_FLIGHT_MAX = Quantity(
    "writeback.inflight_max", "requests", "higher", Values.repeats, "most writes in flight",
    "writes issued and not yet complete at that layer",
)  # fmt: skip
IN_FLIGHT_PAGES = Quantity(
    "writeback.inflight_pages_mean", "4 KiB pages", "higher", Values.repeats, "mean of pages in flight",
    "the same in pages of 4 KiB: a request may hold several, where writes were merged",
)  # fmt: skip
IDLE = Quantity(
    "writeback.idle", "%", "lower", Values.repeats, "time without a write in flight",
    "share of the time from the first write issued at that layer to the last completed",
)  # fmt: skip
MERGED = Quantity(
    "writeback.merged", "requests", "higher", Values.repeats, "writes that were merged",
    "into a request that waited, at that layer, by the device's statistics",
)  # fmt: skip
TRACE_COST = Quantity(
    "trace.cost", "%", "lower", Values.repeats, "cost of tracing",
    "throughput lost to tracing, one value per pair of runs",
)  # fmt: skip
FAULT_LATENCY = Quantity(
    "fault.latency", "ns", "lower", Values.samples, "page fault latency", "time of one page fault", judged=True
)
FAULT_DISK = Quantity(
    "fault.disk", "ns", "lower", Values.samples, "a fault's time at the disk",
    "from block events of the disk with the same sector",
)  # fmt: skip
FAULT_WORKER = Quantity(
    "fault.worker", "ns", "lower", Values.samples, "a fault's time at the loop worker",
    "the time at the loop device, without that at the disk",
)  # fmt: skip
MAJOR_FAULTS = Quantity(
    "fault.major", "count", "lower", Values.once, "major faults", "faults that the kernel counted as major"
)
WRITES_AHEAD = Quantity(
    "fault.writes_ahead", "requests", "lower", Values.repeats, "writes ahead of a fault",
    "requests in flight at the backing device when a fault on a written-back page began, on the average of a turn",
)  # fmt: skip
READ_WAIT = Quantity(
    "read.wait",
    "us",
    "lower",
    Values.repeats,
    "time of a read",
    "median of the reads of a file of zram's, from sysfs; of `idle`, of writes",
)
READ_LONGEST = Quantity(
    "read.longest", "us", "lower", Values.repeats, "longest read", "of the reads of a file of zram's, from sysfs"
)
LOAD_BYTES = Quantity(
    "load.bytes", "B", "higher", Values.once, "bytes of the background load", "bytes that it read or wrote"
)
LOAD_CPU_BUSY = Quantity(
    "load.cpu_busy", "s", "higher", Values.once, "CPU time of the background load", "of all of its threads"
)
RATIO = Quantity(
    "zram.ratio", "x", "higher", Values.steady, "compression ratio",
    "bytes of the pages over their bytes when compressed",
)  # fmt: skip
SWITCH_LATENCY = Quantity(
    "switch.latency", "ms", "lower", Values.events, "app switch latency",
    "time until an app is there after a switch: first touch to last page of its working set; `TotalTime` of `am` for "
    "packages", judged=True,
)  # fmt: skip
SWITCH_CONTROL = Quantity(
    "switch.control", "ms", "lower", Values.events, "control of an app switch",
    "what 512 page faults of the same process take that need neither zram nor storage, right before and right after "
    "each switch (the mean): how fast the phone itself was just then; synthetic apps only",
)  # fmt: skip
KILLED = Quantity(
    "switch.killed",
    "count",
    "lower",
    Values.once,
    "apps killed",
    "by the phone, from the first start to the last switch",
)
ALIVE = Quantity("apps.alive", "count", "higher", Values.once, "apps alive", "apps that run at the end")
FLASH_WRITTEN = Quantity(
    "app_switch.written", "MiB", "lower", Values.once, "bytes written to flash",
    "by the disk's sectors, whoever caused it",
)  # fmt: skip
WRITE_AMPLIFICATION = Quantity(
    "app_switch.write_amplification", "x", "lower", Values.once, "write amplification",
    "bytes written to flash over the bytes of zram pages written back",
)  # fmt: skip
ZRAM_MEMORY = Quantity(
    "zram.mem_used", "MiB", "lower", Values.once, "most memory of zram", "memory that zram took (`mem_used_total`)"
)
ZRAM_MEMORY_MEAN = Quantity(
    "zram.mem_used_mean", "MiB", "lower", Values.once, "mean memory of zram", "on average while apps were switched"
)
AVAILABLE = Quantity("memory.available", "MiB", "higher", Values.once, "least available memory", "least `MemAvailable`")
AVAILABLE_MEAN = Quantity(
    "memory.available_mean", "MiB", "higher", Values.once, "mean available memory",
    "`MemAvailable` on average while apps were switched",
)  # fmt: skip
REFAULTS = Quantity(
    "refault", "count", "lower", Values.once, "refaults", "pages that were read again soon after they had been evicted"
)
CORRUPT = Quantity(
    "integrity.corrupt", "pages", "lower", Values.once, "corrupt pages", "pages that came back different",
    must_be_zero=True,
)  # fmt: skip
COMPARED = Quantity("integrity.pages", "pages", "higher", Values.once, "pages compared", "byte for byte")

METRICS: Mapping[str, Quantity] = {row.name: row for row in list(globals().values()) if isinstance(row, Quantity)}
"""every metric by its name, in the order of docs/results.md"""
