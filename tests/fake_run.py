"""Stands for ``./lab run`` where a night is tested: leaves a run as a phone's would be, as quickly as that can be.

How the phone behaves is told in a file, by serial: the exit status of each attempt, how long it takes or which file
ends it, how long putting it back takes. Every begin and end goes into a ledger, and so does a phone that two have at
once.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from base.deadline import Deadline, wait_until
from base.errors import EnvironmentRefused
from base.files import append_line
from base.signals import interrupt_once
from devices.lease import lease, lease_key

FOLDER = "FAKE_FARM"
SCENARIO, LEDGER, TEMPLATE = "scenario.json", "ledger.jsonl", "template.jsonl"
PROGRAM = (sys.executable, "-m", "tests.fake_run")


def note(folder: Path, what: str, serial: str) -> None:
    """Add to the ledger."""
    append_line(folder / LEDGER, json.dumps({"what": what, "phone": serial, "pid": os.getpid()}).encode())


def scenario(folder: Path, serial: str) -> dict[str, Any]:
    """How this phone behaves."""
    found: dict[str, Any] = json.loads((folder / SCENARIO).read_text()).get(serial, {})
    return found


def main(argv: Sequence[str]) -> int:
    """Lease the phone, take a while, leave a run, put back."""
    folder, options = Path(os.environ[FOLDER]), dict(zip(argv[::2], argv[1::2], strict=True))
    serial, results = options["--device"], Path(options["--results"])
    interrupt_once()
    try:
        with lease(lease_key(str(folder), serial), "fake"):
            return _measured(folder, serial, results)
    except EnvironmentRefused as error:
        note(folder, "clash", serial)
        print(f"lab: {error.for_people()}", file=sys.stderr)
        return error.exit_status


def _measured(folder: Path, serial: str, results: Path) -> int:
    told = scenario(folder, serial)
    statuses, attempt = told.get("statuses", [0]), int(results.name.rpartition("-")[2])
    status: int = statuses[min(attempt, len(statuses)) - 1]
    run = results / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{serial}"
    run.mkdir()
    session, *points, outcome, end = map(json.loads, (folder / TEMPLATE).read_text().splitlines())
    session["started_utc"] = datetime.now(UTC).isoformat()
    session["provenance"] |= {"serial": serial, "build": told.get("build", "build-1")}
    _append(run, session)
    note(folder, "begin", serial)
    try:
        if trips := told.get("trips"):
            _talk(serial, trips)
        time.sleep(told.get("seconds", 0.02))  # sleep: stands for the time that measuring takes
        if until := told.get("until"):
            wait_until(until, (folder / until).exists, Deadline.after(60))
        for point in points:
            for metric in point["metrics"].values():
                metric["values"] = [value * told.get("factor", 1.0) for value in metric["values"]]
            _append(run, point)
    except KeyboardInterrupt:
        status = 2
        time.sleep(told.get("restore", 0.02))  # sleep: stands for putting a phone back
    reason = "it differs" if status == 1 else ""
    _append(run, {**outcome, "outcome": "failed" if reason else "passed", "reason": reason})
    facts = {"disk_written_bytes": told.get("written", 1 << 20)}
    _append(run, {**end, "exit_status": status, "facts": facts})
    if told.get("render"):
        _render(run)
    if told.get("trips"):
        note(folder, f"cpu {time.process_time():.4f}", serial)
    note(folder, f"end {status}", serial)
    if status not in (0, 1):
        print(f"lab: {serial}: it went wrong\n  -> look at it", file=sys.stderr)
    return status


def _talk(serial: str, trips: int) -> None:
    """As many trips to an adb server as a run makes, with what one reads at a time."""
    from devices.adb import AdbTransport
    from devices.adb_server import adb_server
    from devices.transport import Read

    with closing(AdbTransport(serial, client=adb_server())) as phone:
        phone.hold_shell()
        reads = [Read(f"/sys/block/zram0/{number}") for number in range(10)]
        for _ in range(trips):
            phone.execute(reads, deadline=Deadline.after(60), keep_going=True)


def _render(run: Path) -> None:
    from reports.render import render_all

    render_all(run)


def _append(run: Path, record: dict[str, Any]) -> None:
    append_line(run / "results.jsonl", json.dumps(record).encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
