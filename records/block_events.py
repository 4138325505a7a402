"""Block-layer events as the kernel prints them: reading them, and keeping a trace of them with a run."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from base.errors import ReportError
from base.files import open_regular
from records.raw import raw_path

SUFFIX = ".trace.gz"
# Text of some hundred thousand events: more than any buffer on a phone holds.
_LARGEST_TEXT = 1 << 28
_HINT = "copy the whole folder of the run, raw/ included"

# " kworker/u8:1-123 [001] ..... 12.345678: block_rq_issue: 7,0 W 4096 () 2048 + 8 none,0,0 [kworker/u8:1]". Before
# 6.9 without the I/O priority; the complete event has "()" and an error in place of the bytes and the task. A mapped
# device has bios instead: "block_bio_queue: 254,1 R 2048 + 8 [probe]", "block_bio_complete: 254,1 R 2048 + 8 [0]".
_EVENT = re.compile(
    r"-(?P<tid>\d+)\s+(?:\(\s*\S+\)\s+)?\[(?P<cpu>\d+)\]\s+\S+\s+(?P<s>\d+)\.(?P<us>\d{6}): "
    r"block_(?P<what>rq_issue|rq_complete|bio_queue|bio_complete): (?P<major>\d+),(?P<minor>\d+) (?P<flags>\S+) "
    r"(?:(?:\d+ )?\(.*?\) )?"
    r"(?P<sector>\d+) \+ (?P<sectors>\d+)(?:[^\[\n]*\[(?P<tail>[^\]\n]*)\])?"
)


@dataclass(frozen=True, slots=True)
class Event:
    """One event. Time in ns of CLOCK_MONOTONIC, to the microsecond; ``disk`` is "7:0"; sectors of 512 bytes.

    ``tail`` is who issued it, or the error with which it was completed.
    """

    ns: int
    issue: bool
    disk: str
    flags: str
    sector: int
    sectors: int
    tid: int
    cpu: int = 0
    tail: str = ""

    @property
    def write(self) -> bool:
        """Say whether it is a write of data; discards and bare flushes are not."""
        return "W" in self.flags and "D" not in self.flags and self.sectors > 0

    @property
    def read(self) -> bool:
        return "R" in self.flags and self.sectors > 0


def parse_events(text: str) -> list[Event]:
    """Read the block events of a trace, in the order of their times; other lines are passed over."""
    found = []
    for match in _EVENT.finditer(text):
        ns = int(match["s"]) * 1_000_000_000 + int(match["us"]) * 1000
        disk = f"{match['major']}:{match['minor']}"
        size = (int(match["sector"]), int(match["sectors"]))
        found.append(
            Event(
                ns,
                match["what"] in ("rq_issue", "bio_queue"),
                disk,
                match["flags"],
                *size,
                int(match["tid"]),
                int(match["cpu"]),
                match["tail"] or "",
            )
        )
    return found


def packed(text: str) -> bytes:
    """Return a trace as it is kept: the same text always gives the same bytes."""
    return gzip.compress(text.encode("utf-8", errors="backslashreplace"), compresslevel=6, mtime=0)


def read_trace(folder: Path, name: str) -> str:
    """Return a kept trace. Raises ReportError for one that is no such file, is damaged, or is larger than any."""
    path = raw_path(folder, name)
    try:
        with open_regular(path) as file, gzip.GzipFile(fileobj=file) as unpacked:
            text = unpacked.read(_LARGEST_TEXT + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ReportError(f"{os.fspath(path)}: cannot read the block events: {error}", hint=_HINT) from error
    if len(text) > _LARGEST_TEXT:
        raise ReportError(f"{os.fspath(path)}: larger than any trace of a run", hint=_HINT)
    return text.decode("utf-8", errors="replace")
