"""The raw arrays that are no metric: the turn of each sample, and the course of an app-switch run; one row an array.

All are flat uint64. Arrays with the same first word have the same length, metrics of that name among them; a turn is
its index in the record's ``turns``. ``t_ms`` counts from the run's start, and an app is its index in ``facts.apps``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Course:
    """One array. ``about`` says what an element is, with its unit."""

    name: str
    about: str

    @property
    def per(self) -> str:
        """What has one element each: a fault, a switch, a sample, a kill or a writeback."""
        return self.name.partition(".")[0]


FAULT_TURN = Course("fault.turn", "the turn it was timed in, of `fault.latency`")
SPLIT_TURN = Course("split.turn", "the turn of a fault that was taken apart, of `fault.disk` and `fault.worker`")
SWITCH_TURN = Course("switch.turn", "the turn, which is a round of switches")
SWITCH_AT = Course("switch.t_ms", "when, in ms")
SWITCH_APP = Course("switch.app", "to which app")
SWITCH_NS = Course("switch.latency_ns", "how long it took, in ns")
SWITCH_KIND = Course("switch.kind", "0 hot (whole in memory), 1 warm (parts read back), 2 cold (started anew)")
SWITCH_KILLS = Course("switch.kills", "apps killed since the switch before")
SWITCH_MAJOR_FAULTS = Course("switch.majflt", "major faults")
SWITCH_FLASH_PAGES = Course("switch.flash_pages", "pages of 4 KiB that were read back from flash")
SWITCH_SLOWEST_NS = Course("switch.slowest_page_ns", "its slowest single page, in ns; 0 for packages")
SWITCH_CONTROL_NS = Course("switch.control_ns", "its control, in ns; 0 for packages")
SAMPLE_AT = Course("sample.t_ms", "when, in ms")
SAMPLE_ALIVE = Course("sample.alive", "apps alive")
SAMPLE_AVAILABLE = Course("sample.mem_available_kib", "`MemAvailable`, in KiB")
SAMPLE_ZRAM_MEMORY = Course("sample.zram_mem_used_kib", "memory that zram takes, in KiB")
SAMPLE_SWAP_USED = Course("sample.swap_used_kib", "swap in use, in KiB")
SAMPLE_WRITTEN_BACK = Course("sample.written_back_4k", "pages of 4 KiB written back so far (bd_stat)")
SAMPLE_PSI_SOME = Course("sample.psi_some_permille", "share of the time that some task waited for memory, in 1/1000")
SAMPLE_PSI_FULL = Course("sample.psi_full_permille", "share of the time that all tasks waited for memory, in 1/1000")
KILL_AT = Course("kill.t_ms", "when, in ms")
KILL_APP = Course("kill.app", "which app")
WRITEBACK_AT = Course("writeback.t_ms", "when, in ms")
WRITEBACK_PAGES = Course("writeback.pages_4k", "pages of 4 KiB that it wrote")

COURSES: Mapping[str, Course] = {row.name: row for row in list(globals().values()) if isinstance(row, Course)}
"""every array by its name, in the order of docs/results.md"""
