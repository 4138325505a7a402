"""What is there, what is missing, what to do; and putting phones back that a killed run left changed."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator

from tabulate import tabulate

from base.arguments import CommandParser
from base.deadline import Deadline
from base.errors import EXIT_REFUSED, EnvironmentRefused, LabError
from base.paths import cache_dir, state_dir
from devices.android.writers import find_writers
from devices.capability import Capability, detect
from devices.connect import ADB_SERVER_VERSION, attached, chosen_serials, connect, server_version
from devices.device import MARKER, Device, open_device
from devices.health import HEALTH_OPS, parse_health
from devices.identity import identify
from devices.journal import Journal
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
        print(tabulate([(c["check"], c["verdict"], c["detail"]) for c in host], headers=("host", "", "")))
        print()
        rows = [(p["serial"], p["verdict"], p["detail"]) for p in phones]
        print(tabulate(rows, headers=("phone", "verdict", "what to do")) if rows else _NO_PHONE)
    good = all(row["verdict"] != "missing" for row in host) and all(p["verdict"] == "ready" for p in phones)
    return 0 if good else EXIT_REFUSED


_NO_PHONE = "no phone attached: `./lab run` uses the virtual phone"


def _host_checks() -> Iterator[dict[str, str]]:
    yield _adb_server()
    mmdebstrap = shutil.which("mmdebstrap")
    yield _row("mmdebstrap", bool(mmdebstrap), mmdebstrap or "apt install mmdebstrap (only the virtual phone needs it)")
    free = shutil.disk_usage(cache_dir()).free
    yield _row("disk for the cache", free > _MIN_FREE_BYTES, f"{free >> 30} GiB free at {cache_dir()}")
    pending = [path.stem for path in (state_dir() / "journals").glob("*.jsonl") if Journal.open(path).pending]
    yield _row("nothing left to restore", not pending, f"./lab restore: {', '.join(pending)}" if pending else "")


def _adb_server() -> dict[str, str]:
    try:
        version = server_version()
    except EnvironmentRefused as error:
        return _row("adb server", False, f"{error}: {error.hint}")
    good = version == ADB_SERVER_VERSION
    other = f"version {version}: it is left alone; set ANDROID_ADB_SERVER_PORT to one of your own"
    return _row("adb server", good, f"version {version}" if good else other)


def _row(check: str, good: bool, detail: str) -> dict[str, str]:
    return {"check": check, "verdict": "ok" if good else "missing", "detail": detail}


def _phone_verdict(serial: str, state: str) -> dict[str, str]:
    """Connects and looks; changes nothing (a journal that an earlier run left is only reported)."""
    try:
        transport = connect(serial)
        deadline = Deadline.after(60)
        identity = identify(transport, deadline=deadline)
        found = detect(transport, deadline=deadline)
        marker, *health = transport.execute([Read(MARKER), *HEALTH_OPS], deadline=deadline, keep_going=True)
        writers = find_writers(transport, deadline=deadline)
    except LabError as error:
        return {"serial": serial, "verdict": "not ready", "detail": f"{state}: {error.for_people()}"}
    facts = f"{identity.prop('ro.product.model')}, kernel {identity.kernel_release}, root by {transport.root}"
    facts += f", {parse_health(*(result.stdout for result in health)).for_people()}"
    if Capability.writeback not in found:
        return {"serial": serial, "verdict": "not ready", "detail": f"{facts}: this kernel has no zram writeback"}
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
    pending = {path.stem: path for path in (state_dir() / "journals").glob("*.jsonl")}
    wanted = arguments.device or [serial for serial, state in states.items() if state == "device"]
    if not pending:
        print("nothing to restore: no journal of an unfinished run")
        return 0
    worst, done = 0, []
    for serial in wanted:
        try:
            with open_device(connect(serial), say=lambda text: print(text, file=sys.stderr)) as device:
                done.append(_key(device))
        except LabError as error:
            print(f"{serial}: {error.for_people()}", file=sys.stderr)
            worst = worst or error.exit_status
    for key in sorted(set(pending) - set(done)):
        if pending[key].exists():
            print(f"{key}: not attached; attach it (a virtual phone: start it) and run ./lab restore", file=sys.stderr)
            worst = worst or EXIT_REFUSED
    print(f"restored: {', '.join(sorted(set(done) & set(pending))) or 'none'}")
    return worst


def _key(device: Device) -> str:
    return device.journal.path.stem
