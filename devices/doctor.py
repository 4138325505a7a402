"""What is there, what is missing, what to do; and putting phones back that a killed run left changed."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from tabulate import tabulate

from base.arguments import CommandParser
from base.deadline import Deadline
from base.errors import EXIT_REFUSED, EnvironmentRefused, LabError
from base.paths import cache_dir
from base.text import clean
from devices.android.writers import find_writers
from devices.capability import Capability, detect, no_writeback
from devices.connect import ADB_SERVER_VERSION, attached, chosen_serials, connect, server_version
from devices.device import MARKER, holder_of, open_device
from devices.health import HEALTH_OPS, parse_health
from devices.identity import identify
from devices.journal import Journal
from devices.journal_files import all_journals
from devices.lease import Holder, held_by, lease_key
from devices.phone import matching
from devices.transport import Read

_MIN_FREE_BYTES = 3 << 30


def _arguments(command: str, argv: list[str]) -> argparse.Namespace:
    parser = CommandParser(prog=f"lab {command}")
    parser.add_argument("--device", action="append", default=[], metavar="SERIAL", help="only this phone; repeatable")
    parser.add_argument("--json", action="store_true", help="machine-readable on stdout")
    return parser.parse_args(argv)


def doctor(argv: list[str]) -> int:
    """Check host and phones; 0 when everything that was asked about is fit, else 11."""
    arguments = _arguments("doctor", argv)
    host = list(_host_checks())
    states = attached() if host[0]["verdict"] == "ok" else {}
    wanted = arguments.device or chosen_serials() or list(states)
    phones = [_phone_verdict(serial, states.get(serial, "not attached")) for serial in wanted]
    if arguments.json:
        print(json.dumps({"host": host, "phones": phones}, indent=2))
    else:
        print(clean(tabulate([(c["check"], c["verdict"], c["detail"]) for c in host], headers=("host", "", ""))))
        print()
        rows = [(p["serial"], p["verdict"], p["detail"]) for p in phones]
        print(clean(tabulate(rows, headers=("phone", "verdict", "what to do"))) if rows else _NO_PHONE)
    good = all(row["verdict"] != "missing" for row in host) and all(p["verdict"] == "ready" for p in phones)
    return 0 if good else EXIT_REFUSED


_NO_PHONE = "no phone attached: `./lab run` uses the virtual phone"


def _host_checks() -> Iterator[dict[str, str]]:
    yield _adb_server()
    mmdebstrap = shutil.which("mmdebstrap")
    yield _row("mmdebstrap", bool(mmdebstrap), mmdebstrap or "apt install mmdebstrap (only the virtual phone needs it)")
    free = shutil.disk_usage(cache_dir()).free
    yield _row("disk for the cache", free > _MIN_FREE_BYTES, f"{free >> 30} GiB free at {cache_dir()}")
    yield _left_to_restore()


def _adb_server() -> dict[str, str]:
    try:
        version = server_version()
    except EnvironmentRefused as error:
        return _row("adb server", False, f"{error}: {error.hint}")
    good = version == ADB_SERVER_VERSION
    other = f"version {version}: it is left alone; set ANDROID_ADB_SERVER_PORT to one of your own"
    return _row("adb server", good, f"version {version}" if good else other)


def _left_to_restore() -> dict[str, str]:
    """Journals of runs that go on are what they must be."""
    check = "nothing left to restore"
    pending, bad, busy = [], [], []
    try:
        paths = all_journals()
    except EnvironmentRefused as error:
        return _row(check, False, f"{error}: {error.hint}")
    for path in paths:
        try:
            journal = Journal.open(path)
        except LabError as error:
            bad.append(f"{error}: {error.hint}")
            continue
        if holder := _holder(journal):
            busy.append(f"{path.stem} is in use by {holder}")
        elif journal.pending:
            pending.append(path.stem)
    told = [f"./lab restore: {', '.join(pending)}"] if pending else []
    return _row(check, not (pending or bad), "; ".join([*told, *bad, *busy]))


def _holder(journal: Journal) -> Holder | None:
    """Who measures on the phone now whose journal it is."""
    last = journal.entries[-1] if journal.entries else None
    return held_by(lease_key(last.boot_id, last.phone.serialno)) if last and last.phone else None


def _row(check: str, good: bool, detail: str) -> dict[str, str]:
    return {"check": check, "verdict": "ok" if good else "missing", "detail": detail}


def _phone_verdict(serial: str, state: str) -> dict[str, str]:
    """Connects and looks; changes nothing (a journal that an earlier run left is only reported)."""
    try:
        transport = connect(serial)
        deadline = Deadline.after(60)
        if holder := holder_of(transport, deadline=deadline):
            return {"serial": serial, "verdict": "in use", "detail": f"in use by {holder}: wait until that run ends"}
        identity = identify(transport, deadline=deadline)
        found = detect(transport, deadline=deadline, zram_number=matching(identity).zram.number)
        marker, *health = transport.execute([Read(MARKER), *HEALTH_OPS], deadline=deadline, keep_going=True)
        writers = find_writers(transport, deadline=deadline)
        reason = no_writeback(transport, found, deadline=deadline)
    except LabError as error:
        return {"serial": serial, "verdict": "not ready", "detail": f"{state}: {error.for_people()}"}
    facts = f"{identity.prop('ro.product.model')}, kernel {identity.kernel_release}, root by {transport.root}"
    facts += f", {parse_health(*(result.stdout for result in health)).for_people()}"
    if reason:
        return {"serial": serial, "verdict": "not ready", "detail": f"{facts}: {reason}"}
    notes = []
    if marker.ok:
        notes.append("an earlier run left changes: ./lab restore")
    notes += [f"{name} writes back on its own: it is stopped for a run" for name in writers.services]
    notes += [f"{name} writes back on its own and cannot be stopped" for name in writers.unstoppable]
    if Capability.writeback_batch_size not in found:
        notes.append("no writeback_batch_size: the sweep has one point")
    return {"serial": serial, "verdict": "ready", "detail": "; ".join([facts, *notes])}


def restore(argv: list[str]) -> int:
    """Replay the journals of all attached phones, or of those named. Phones without a journal are left alone."""
    arguments = _arguments("restore", argv)
    states = attached()
    pending = [path for path in all_journals() if _needs_restore(path)]
    wanted = arguments.device or [serial for serial, state in states.items() if state == "device"]
    if not pending:
        print("nothing to restore: no journal of an unfinished run")
        return 0
    worst = 0
    for serial in wanted:
        try:
            with open_device(connect(serial), say=_say):
                pass
        except LabError as error:
            _say(f"{serial}: {error.for_people()}")
            worst = worst or error.exit_status
    left = [path for path in pending if path.exists()]
    for path in left:
        _say(f"{path.stem}: not attached, or not restored; attach it (a virtual phone: start it) and run ./lab restore")
        _say(f"  -> if that phone was wiped since, nothing is left to restore: delete {path}")
        worst = worst or EXIT_REFUSED
    print(f"restored: {', '.join(sorted(path.stem for path in pending if path not in left)) or 'none'}")
    return worst


def _needs_restore(path: Path) -> bool:
    """Also a journal that cannot be read: its phone's name is in its own, and opening the phone says what is wrong."""
    try:
        return Journal.open(path).pending
    except LabError:
        return True


def _say(text: str) -> None:
    print(clean(text), file=sys.stderr)
