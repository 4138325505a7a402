"""Block events of a run in the formats of other tools: the text of blkparse, and an iolog for fio to replay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from base.errors import ReportError
from base.kernel import SECTOR
from base.units import NS_PER_S, NS_PER_US
from records import tests as t
from records.block_events import SUFFIX, Event, parse_events, read_trace
from records.model import RunResult
from records.reading import StoredRun, load
from records.writing import replace_file

FOLDER = "events"


def export_events(run_folder: Path, form: str) -> list[Path]:
    """Write the block events of a run as ``blkparse`` or ``iolog``, a file for each turn and device; return the files.

    Raises ReportError where the run kept none, or one of them cannot be read.
    """
    write, run = FORMS[form], load(run_folder)
    written = []
    for result in run.runs:
        for name in _files_of(result):
            device, number = (str(result.facts.get(key, "")) for key in ("device", "number"))
            events = [event for event in _events(run, name) if event.disk == number]
            stem = Path(name).name.removesuffix(SUFFIX)
            path = run.folder / FOLDER / f"{stem}-{Path(device).name}.{form}"
            path.parent.mkdir(exist_ok=True)
            replace_file(path, write(events, device))
            written.append(path)
    if not written:
        raise ReportError(
            f"{run.folder}: no block events were kept in this run",
            hint="the test inflight_depth keeps them, where the phone's kernel traces block events",
        )
    return written


def to_blkparse(events: Iterable[Event], device: str) -> str:
    """Return issues (D) and completions (C) as blkparse prints them by default, from time 0 on."""
    lines, first_ns = [], None
    for number, event in enumerate(events, start=1):
        first_ns = event.ns if first_ns is None else first_ns
        seconds, ns = divmod(event.ns - first_ns, NS_PER_S)
        major, _, minor = event.disk.partition(":")
        lines.append(
            f"{major:>3},{minor:<3} {event.cpu:2} {number:8} {seconds:5}.{ns:09} {event.tid:5}  "
            f"{'D' if event.issue else 'C'} {event.flags:>3} {event.sector} + {event.sectors} [{event.tail}]\n"
        )
    return "".join(lines)


def to_iolog(events: Iterable[Event], device: str) -> str:
    """Return reads, writes and discards as fio 3 reads them (version 3): offset and length in bytes, time in µs.

    Requests count when they are issued; one that is issued again before it is complete counts once.
    """
    name, pending, lines = f"/dev/{device}", set[int](), list[str]()
    first_ns, last_us = None, 0
    for event in events:
        if (action := _action(event)) is None:
            continue
        if not event.issue:
            pending.discard(event.sector)
        elif event.sector not in pending:
            pending.add(event.sector)
            first_ns = event.ns if first_ns is None else first_ns
            last_us = (event.ns - first_ns) // NS_PER_US
            lines.append(f"{last_us} {name} {action} {event.sector * SECTOR} {event.sectors * SECTOR}\n")
    head = f"fio version 3 iolog\n0 {name} add\n0 {name} open\n"
    return f"{head}{''.join(lines)}{last_us} {name} close\n"


def _action(event: Event) -> str | None:
    if "D" in event.flags and event.sectors:
        return "trim"
    return "write" if event.write else "read" if event.read else None


FORMS: Mapping[str, Callable[[Iterable[Event], str], str]] = {"blkparse": to_blkparse, "iolog": to_iolog}
"""what the events can be written as"""


def _files_of(result: RunResult) -> Sequence[str]:
    found = result.facts.get("events") if result.test == t.DEPTH.name else None
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _events(run: StoredRun, name: str) -> list[Event]:
    return parse_events(read_trace(run.folder, name))
