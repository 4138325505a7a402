"""The tests that a run may hold: one row a test, with its parameters, its facts and what a section needs of it.

A record of a test without a row, or one that lacks what its section needs, is shown in the general tables of a report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from records import metrics as m
from records import parameters as p


@dataclass(frozen=True, slots=True)
class Fact:
    """What else is read at a point and shown in the test's section."""

    name: str
    about: str


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredTest:
    """One test. ``needs`` is the metric or the samples that its section cannot do without; None: it has no section.

    ``one_run``: a point is one run and not a series of repeats, and its raw arrays are its course over time.
    ``judged``: a comparison may have verdicts for its metrics. ``primary``: they are what a comparison is made for.
    """

    name: str
    about: str
    params: tuple[p.Parameter, ...]
    needs: m.Quantity | None
    facts: tuple[Fact, ...] = ()
    one_run: bool = False
    judged: bool = True
    primary: bool = False

    @property
    def fact_names(self) -> frozenset[str]:
        """Facts that the test's section shows."""
        return frozenset(fact.name for fact in self.facts)


_OVERHEAD = Fact("probe_overhead_ns", "the probe's own cost per sample, contained in every sample")

THROUGHPUT = MeasuredTest(
    "writeback_throughput", "how fast pages are written back, by batch size",
    (p.BATCH_SIZE, p.DATA_BYTES, p.PAGES, p.ORDER), m.THROUGHPUT,
    (Fact("held_back", "of the disk, before and after the sweep: WriteBooster, its flush, the write cache"),),
    primary=True,
)  # fmt: skip
DEPTH = MeasuredTest(
    "inflight_depth", "how many writes are in flight; traced meanwhile, which costs time, so it carries no verdict",
    (p.BATCH_SIZE, p.LAYER, p.DATA_BYTES, p.PAGES, p.ALGORITHM, p.COMPRESSED), m.IN_FLIGHT_MAX,
    (
        Fact("how", "`block events` or `sampled counters`"),
        Fact("device", "of which block device"),
        Fact("events", "files of block events, one a turn, of all layers; `./lab report RUN --events` writes them out"),
        Fact("events_left_out", "turns whose events were not kept, because those before them take enough room"),
        Fact(
            "sector_steps",
            "distance from the end of a write to the next one -> share: `back`, or the fewest pages of 4 KiB",
        ),
        Fact("time_at_depth", "depth -> share of the writeback's time; the shares add up to 1"),
        Fact("flags", "write requests by flags (W, WS)"),
        Fact("sync", "whether they were synchronous"),
        Fact("expected_max", "the smallest limit"),
        Fact("expected_from", "all limits by name"),
        Fact("verdict", "what the depth is against the smallest limit"),
    ),
    judged=False,
)  # fmt: skip
FAULTS = MeasuredTest(
    "fault_latency", "what a page fault takes on a quiet phone", (p.SLOT, p.ALGORITHM), m.FAULT_LATENCY, (_OVERHEAD,),
    primary=True,
)  # fmt: skip
FAULTS_WRITEBACK = MeasuredTest(
    "fault_latency_writeback", "what a page fault takes while a writeback runs",
    (p.SLOT, p.WRITEBACK_RUNS, p.BATCH_SIZE, p.ALGORITHM), m.FAULT_LATENCY,
    (
        _OVERHEAD,
        Fact("share_in_flight", "share of the pages in flight for which that is proven"),
        Fact("late", "pages that were to be in flight and were written already: counted, and no samples"),
        Fact("waiting", "pages among those in flight whose write had not begun"),
    ),
    primary=True,
)  # fmt: skip
FAULTS_LOAD = MeasuredTest(
    "fault_latency_load", "what a page fault takes on a busy phone",
    (p.BACKING, p.LOAD, p.SETTING, p.SLOT, p.ALGORITHM), m.FAULT_LATENCY, (_OVERHEAD,),
)  # fmt: skip
READS = MeasuredTest(
    "reads_during_writeback", "how long a read of one of zram's files takes while a writeback of 256 KiB runs",
    (p.BATCH_SIZE, p.WRITEBACK_RUNS, p.FILE), m.READ_WAIT,
    (
        Fact("writeback_bytes", "how much one writeback writes"),
        Fact("writeback_ms", "how long one took, the median over turns"),
    ), judged=False,
)  # fmt: skip
BACKING = MeasuredTest(
    "backing_variant", "writeback and page faults by kind of backing device",
    (p.VARIANT, p.BLOCKS, p.BATCH_SIZE, p.DATA_BYTES), m.THROUGHPUT,
    (Fact("verified", "what the backing device was read back as"), _OVERHEAD),
)  # fmt: skip
COMPRESSOR = MeasuredTest(
    "compressor",
    "writeback by compressor",
    (p.ALGORITHM, p.COMPRESSED, p.PAGES, p.BATCH_SIZE, p.DATA_BYTES),
    m.THROUGHPUT,
)
COMPRESSOR_FAULTS = MeasuredTest(
    "compressor_faults",
    "page faults by compressor",
    (p.ALGORITHM, p.COMPRESSED, p.PAGES, p.SLOT),
    m.FAULT_LATENCY,
    (_OVERHEAD,),
)
APP_SWITCH = MeasuredTest(
    "app_switch", "switching between apps while zram holds their memory (docs/app-switch.md)",
    (p.APP_KIND, p.PATTERN, p.TRIGGER, p.BATCH_SIZE, p.APPS), m.SWITCH_LATENCY,
    (
        Fact("victims", "who was killed, when, why"),
        Fact("psi_total_us", "time that some or all tasks waited for memory, of the whole run"),
        Fact("pswpin", "pages swapped in, of the whole run"),
        Fact("pswpout", "pages swapped out, of the whole run"),
        Fact("temperature_c", "temperature before, after, and at most"),
    ),
    one_run=True, primary=True,
)  # fmt: skip
INTEGRITY = MeasuredTest("data_integrity", "whether every page comes back as it was written", (p.PATH,), m.CORRUPT)
_SIDES = (
    Fact("settings", "what the side is"),
    Fact("decisions", "each figure of both sides, its ratio with interval, what was decided and after which round"),
    Fact("ended_by", "what ended the rounds: decision, budget, or plan where no more may be looked at"),
    Fact("relevant", "the least relevant difference, as a share"),
)  # fmt: skip
AB_WRITEBACK = MeasuredTest(
    "ab_writeback", "two sides in turn: how fast pages are written back", (p.SIDE, p.DATA_BYTES, p.PAGES, p.ORDER),
    m.THROUGHPUT, _SIDES, judged=False,
)  # fmt: skip
AB_DEPTH = MeasuredTest(
    "ab_depth", "two sides in turn: how many writes are in flight", (p.SIDE, p.LAYER, p.DATA_BYTES), m.IN_FLIGHT_MEAN,
    _SIDES, judged=False,
)  # fmt: skip
AB_FAULTS = MeasuredTest(
    "ab_faults", "two sides in turn: what a page fault takes", (p.SIDE, p.SLOT, p.WRITEBACK_RUNS), m.FAULT_LATENCY,
    _SIDES, judged=False,
)  # fmt: skip
AB_SWITCH = MeasuredTest(
    "ab_switch", "two sides in turn: what switching between apps takes", (p.SIDE, p.APP_KIND, p.TRIGGER),
    m.SWITCH_LATENCY, _SIDES, judged=False,
)  # fmt: skip
BATCH_ATTRIBUTE = MeasuredTest(
    "batch_size_attribute", "which values `writeback_batch_size` takes; facts only", (), None
)
LIMIT_GRAMMAR = MeasuredTest("writeback_limit_grammar", "which values `writeback_limit` takes; facts only", (), None)
LIMIT = MeasuredTest(
    "writeback_limit", "whether a writeback stops at its limit; checks and facts only", (p.BATCH_SIZE,), None
)
PARTIAL_LIMIT = MeasuredTest(
    "writeback_limit_partial", "what a limit that ends within a page is; only with pages above 4 KiB, facts only",
    (p.BATCH_SIZE,), None,
)  # fmt: skip
REGRESSION = MeasuredTest(
    "regression", "whether a check of the regression suite holds; checks and facts only", (p.CHECK,), None,
    judged=False,
)  # fmt: skip

TESTS: Mapping[str, MeasuredTest] = {row.name: row for row in list(globals().values()) if isinstance(row, MeasuredTest)}
"""every test by its name, in the order of docs/results.md"""
