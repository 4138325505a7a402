"""Splits reads of a backing file into their time at the disk and the rest of their time at the device above it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np

from base.kernel import SECTOR
from devices.mapped import MAPPED
from devices.probe.session import PROBE_FOLDER
from devices.storage import Disk
from devices.tracing import BlockTrace, block_trace
from records.block_events import parse_events
from workloads.bench import Bench
from workloads.blockevents import requests, served_by
from workloads.turns import Samples

_EXTENTS_FILE = f"{PROBE_FOLDER}/extents.bin"
# What `extents` writes, 24 bytes a piece, in bytes (probe/README.md).
EXTENT = np.dtype([(name, "<u8") for name in ("logical", "physical", "bytes")])


@dataclass(frozen=True, slots=True)
class ReadSplitter:
    """Finds each read of ``loop``, a loop or mapped device, at its ``disk``; ``where`` maps sectors to the disk's."""

    bench: Bench
    trace: BlockTrace
    loop: str
    disk: str
    where: Mapping[int, int]

    def recording(self) -> AbstractContextManager[None]:
        """Record the reads in this scope, and only those."""
        return self.trace.record(self.bench.probe)

    def split(self) -> tuple[Samples, Samples, int]:
        """Return the times at the disk and the rest, in ns, of what was recorded; and how many were found nowhere."""
        events = parse_events(self.trace.fetch(self.bench.folder / "trace.txt"))
        at_loop, at_disk = requests(events, self.loop, reads=True), requests(events, self.disk, reads=True)
        pairs = served_by(at_loop, at_disk, self.where.get)
        took = [(below.completed_ns - below.issued_ns, above.completed_ns - above.issued_ns) for above, below in pairs]
        disk = np.array([disk for disk, _ in took], dtype=np.uint64)
        rest = np.array([loop - disk for disk, loop in took], dtype=np.uint64)
        return disk, rest, len(at_loop) - len(pairs)


@contextmanager
def splitting_reads(bench: Bench, *, events: int) -> Iterator[ReadSplitter | None]:
    """Yield what splits reads of the bench's backing device; None where that is no file.

    Raises TracingRefused and ProbeFailed where the phone does not tell enough.
    """
    stage = bench.stage
    if stage.backing.file is None or stage.disk is None:
        yield None
        return
    own = stage.device.read(f"/sys/class/block/{stage.backing.name}/dev").strip()
    where = _places_on_disk(bench, stage.backing.file, stage.disk)
    numbers = sorted({own, stage.disk.number})
    mapped = [own] if stage.backing.kind == MAPPED else []
    disks = [number for number in numbers if number not in mapped]
    with block_trace(stage.device, disks, events=events, only_reads=True, mapped=mapped) as trace:
        yield ReadSplitter(bench, trace, own, stage.disk.number, where)


def _places_on_disk(bench: Bench, file: str, disk: Disk) -> dict[int, int]:
    """Return the sector on its disk of each page of the backing file, by its sector at the loop device."""
    found = bench.probe.extents(file, _EXTENTS_FILE)
    pieces = bench.fetch(_EXTENTS_FILE, EXTENT, found.extents)
    columns = (pieces[name] // SECTOR for name in ("logical", "physical", "bytes"))
    page = bench.stage.page_bytes // SECTOR
    return {
        int(logical) + at: int(physical) + at + disk.start_sector
        for logical, physical, sectors in zip(*columns, strict=True)
        for at in range(0, int(sectors), page)
    }
