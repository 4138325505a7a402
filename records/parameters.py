"""What makes a point of a test: one row a parameter, with its values where they are names in code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """One parameter. ``words`` stands before its value in a report, the key itself where it is empty.

    ``values`` holds, in their order, those that have a name, and how each is told.
    """

    key: str
    about: str
    words: str = ""
    values: Mapping[Any, str] = field(default_factory=dict)


def _as_they_are(*values: str) -> dict[Any, str]:
    """Values that are told by their own names."""
    return {value: value for value in values}


CHECK = Parameter("check", "which check of the regression suite (docs/regression.md)", "check")
BATCH_SIZE = Parameter(
    "batch_size", "`writeback_batch_size`: how many page writes may be in flight at once; null: not on this kernel",
    "batch", {None: "none"},
)  # fmt: skip
DATA_BYTES = Parameter("data_bytes", "bytes of the pages that are written back", "data")
PAGES = Parameter("pages", "what the pages hold", "pages", {
    **_as_they_are("incompressible", "mixed"), "memory": "like memory", "system_files": "of system files",
    **_as_they_are("compressible"), "synthetic_mixed": "mixed by assumption", "own": "as the profile has them",
})  # fmt: skip
ORDER = Parameter(
    "order", "which slots are written back, and so how far apart the free blocks lie that they get", "slot order",
    _as_they_are("sparse", "sequential", "scattered"),
)  # fmt: skip
LAYER = Parameter("layer", "where requests were seen: at zram's loop device, or at the disk below it",
                  values=_as_they_are("loop", "disk"))  # fmt: skip
SLOT = Parameter(
    "slot", "where the page was when the fault came: compressed in RAM, on the backing device, or on its way there; "
    "`victim`: in RAM, as one of those that are in flight while a writeback runs",
    "page was in", {"ram": "RAM", "written_back": "storage", "in_flight": "in flight", "victim": "RAM, victim"},
)  # fmt: skip
ALGORITHM = Parameter("comp_algorithm", "zram's compressor", "compressor")
COMPRESSED = Parameter(
    "compressed_writeback", "whether pages are written back as zram keeps them; null: not on this kernel",
    "compressed writeback", {True: "on", False: "off", None: "not there"},
)  # fmt: skip
WRITEBACK_RUNS = Parameter(
    "writeback", "what runs meanwhile: nothing, a thread that burns as much CPU time as the writer does at the "
    "kernel's own batch size, or a writeback", values=_as_they_are("quiet", "cpu", "running"),
)  # fmt: skip
TRIGGER = Parameter(
    "writeback", "what triggers writeback (docs/app-switch.md)",
    values=_as_they_are("off", "idle", "background", "periodic"),
)  # fmt: skip
FILE = Parameter("file", "which of zram's files in sysfs is read")
BACKING = Parameter("backing", "what zram writes back to", values={
    "loop_direct": "loop with direct I/O", "loop_buffered": "loop with buffered I/O", "mapped": "mapped file",
    "partition": "raw partition",
})  # fmt: skip
LOAD = Parameter("load", "what else the phone does", values={
    "none": "no load", "cpu": "CPU, all cores", "random_read": "random reads", "sequential_write": "sequential writes",
})  # fmt: skip
SETTING = Parameter("setting", "what was changed to help", values={
    "default": "default", "io_realtime": "real-time I/O priority", "worker_nice": "loop worker's nice",
})  # fmt: skip
VARIANT = Parameter("variant", "the kind of backing device in words")
BLOCKS = Parameter(
    "blocks", "whether the backing device's blocks are written for the first time",
    values=_as_they_are("fresh", "overwritten"),
)  # fmt: skip
APP_KIND = Parameter("kind", "of apps: processes of this project, or installed packages",
                     values=_as_they_are("synthetic", "packages"))  # fmt: skip
PATTERN = Parameter("pattern", "the order in which apps are switched to")
APPS = Parameter("apps", "how many apps")
PATH = Parameter("path", "how pages reach zram", "path", _as_they_are("block", "swap"))
SIDE = Parameter("side", "which of the two that were measured in turn (docs/ab.md)",
                 values={"base": "BASE", "cand": "CAND"})  # fmt: skip

_ROWS = [row for row in list(globals().values()) if isinstance(row, Parameter)]
PARAMETERS: tuple[Parameter, ...] = tuple(_ROWS)
"""every parameter, in the order of docs/results.md; two tests may mean two things by one key"""


def _by_key() -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for row in PARAMETERS:
        known = found.get(row.key)
        found[row.key] = row if known is None else Parameter(row.key, "", known.words, {**known.values, **row.values})
    return found


BY_KEY: Mapping[str, Parameter] = _by_key()
"""words and values by key, for telling a parameter of any test"""
