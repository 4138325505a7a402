"""``./lab doctor``: what is there, what is missing, what to do. It changes nothing."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import yaml
from tabulate import tabulate

from base.arguments import CommandParser
from base.deadline import Deadline
from base.errors import EXIT_REFUSED, LabError
from base.paths import cache_dir
from base.text import clean
from devices.android.writers import find_writers
from devices.capability import Capability, detect, no_writeback
from devices.connect import ADB_SERVER_VERSION, attached, chosen_serials, connect, server_version
from devices.device import MARKER, holder_of
from devices.health import HEALTH_OPS, parse_health
from devices.identity import identify
from devices.journal import Journal
from devices.journal_files import all_journals, measuring_with
from devices.page_mix import read_mix
from devices.phone import matching
from devices.transport import Read, Transport

_MIN_FREE_BYTES = 3 << 30
# Phones that are asked at once: enough to hide the slow ones, few enough for one adb server.
_AT_ONCE = 8
_NO_PHONE = "no phone attached: `./lab run` uses the virtual phone"


def main(argv: list[str]) -> int:
    """Check host and phones; 0 when everything that was asked about is fit, else 11."""
    parser = CommandParser(prog="lab doctor", description="What is there, what is missing, what to do.")
    parser.add_argument("--device", action="append", default=[], metavar="SERIAL", help="only this phone; repeatable")
    parser.add_argument("--json", action="store_true", help="machine-readable on stdout")
    parser.add_argument("--content", action="store_true", help="what a phone's swapped pages are like, as YAML")
    arguments = parser.parse_args(argv)
    if arguments.content:
        return _tell_content(arguments.device or chosen_serials() or list(attached()), as_json=arguments.json)
    host = [_checked(name, check) for name, check in _HOST_CHECKS.items()]
    states = attached() if host[0]["verdict"] == "ok" else {}
    wanted = arguments.device or chosen_serials() or list(states)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        phones = list(pool.map(lambda serial: _phone_verdict(serial, states.get(serial, "not attached")), wanted))
    if arguments.json:
        print(json.dumps({"host": host, "phones": phones}, indent=2))
    else:
        print(tabulate([(c["check"], c["verdict"], c["detail"]) for c in host], headers=("host", "", "")))
        print()
        # Cleaned before the table is laid out, for its columns to fit.
        rows = [(clean(p["serial"]), p["verdict"], clean(p["detail"])) for p in phones]
        print(tabulate(rows, headers=("phone", "verdict", "what to do")) if rows else _NO_PHONE)
    good = all(row["verdict"] != "missing" for row in host) and all(p["verdict"] == "ready" for p in phones)
    return 0 if good else EXIT_REFUSED


def _tell_content(serials: Sequence[str], *, as_json: bool) -> int:
    """Print what the pages of each phone are like, and the mix of the probe's that is like them."""
    told = {serial: _content_of(serial) for serial in serials}
    if not told:
        print(_NO_PHONE, file=sys.stderr)
    elif as_json:
        print(json.dumps(told, indent=2))
    else:
        print(yaml.safe_dump(told, sort_keys=False, width=120), end="")
    return 0 if told and all("own_pages" in facts for facts in told.values()) else EXIT_REFUSED


def _content_of(serial: str) -> dict[str, object]:
    try:
        with closing(connect(serial)) as transport:
            deadline = Deadline.after(60)
            identity = identify(transport, deadline=deadline)
            number, page_bytes = matching(identity).zram.number, identity.page_size_bytes
            return read_mix(transport, number, page_bytes=page_bytes, deadline=deadline).facts()
    except LabError as error:
        return {"problem": error.for_people()}


def _checked(name: str, check: Callable[[], tuple[bool, str]]) -> dict[str, str]:
    try:
        good, detail = check()
    except LabError as error:
        good, detail = False, f"{error}: {error.hint}"
    return {"check": name, "verdict": "ok" if good else "missing", "detail": detail}


def _adb_server() -> tuple[bool, str]:
    version = server_version()
    if version == ADB_SERVER_VERSION:
        return True, f"version {version}"
    return False, f"version {version}: it is left alone; set ANDROID_ADB_SERVER_PORT to one of your own"


def _mmdebstrap() -> tuple[bool, str]:
    found = shutil.which("mmdebstrap")
    return bool(found), found or "apt install mmdebstrap (only the virtual phone needs it)"


def _disk() -> tuple[bool, str]:
    free = shutil.disk_usage(cache_dir()).free
    return free > _MIN_FREE_BYTES, f"{free >> 30} GiB free at {cache_dir()}"


def _left_to_restore() -> tuple[bool, str]:
    """Journals of runs that go on are what they must be."""
    pending, bad, busy = [], [], []
    for path in all_journals():
        try:
            journal = Journal.open(path)
        except LabError as error:
            bad.append(f"{error}: {error.hint}")
            continue
        if holder := measuring_with(journal):
            busy.append(f"{path.stem} is in use by {holder}")
        elif journal.pending:
            pending.append(path.stem)
    told = [f"./lab restore: {', '.join(pending)}"] if pending else []
    return not (pending or bad), "; ".join([*told, *bad, *busy])


_HOST_CHECKS: dict[str, Callable[[], tuple[bool, str]]] = {
    "adb server": _adb_server,
    "mmdebstrap": _mmdebstrap,
    "disk for the cache": _disk,
    "nothing left to restore": _left_to_restore,
}


def _phone_verdict(serial: str, state: str) -> dict[str, str]:
    """What can be said of one phone; whatever it answers, the others keep their verdicts."""
    try:
        return {"serial": serial, **_looked_at(serial)}
    except LabError as error:
        return {"serial": serial, "verdict": "not ready", "detail": f"{state}: {error.for_people()}"}
    except Exception as error:  # noqa: BLE001 an answer that nobody foresaw
        return {"serial": serial, "verdict": "not ready", "detail": f"{state}: its answers make no sense: {error!r}"}


def _looked_at(serial: str) -> dict[str, str]:
    """Connects and looks; changes nothing (a journal that an earlier run left is only reported)."""
    with closing(connect(serial)) as transport:
        return _seen_at(transport, Deadline.after(60))


def _seen_at(transport: Transport, deadline: Deadline) -> dict[str, str]:
    if holder := holder_of(transport, deadline=deadline):
        return {"verdict": "in use", "detail": f"in use by {holder}: wait until that run ends"}
    identity = identify(transport, deadline=deadline)
    found = detect(transport, deadline=deadline, zram_number=matching(identity).zram.number)
    marker, *health = transport.execute([Read(MARKER), *HEALTH_OPS], deadline=deadline, keep_going=True)
    writers = find_writers(transport, deadline=deadline)
    reason = no_writeback(transport, found, deadline=deadline)
    facts = f"{identity.prop('ro.product.model')}, kernel {identity.kernel_release}, root by {transport.root}"
    facts += f", {parse_health(*(result.stdout for result in health)).for_people()}"
    if reason:
        return {"verdict": "not ready", "detail": f"{facts}: {reason}"}
    notes = []
    if marker.ok:
        notes.append("an earlier run left changes: ./lab restore")
    notes += [f"{name} writes back on its own: it is stopped for a run" for name in writers.services]
    notes += [f"{name} writes back on its own and cannot be stopped" for name in writers.unstoppable]
    if Capability.writeback_batch_size not in found:
        notes.append("no writeback_batch_size: the sweep has one point")
    return {"verdict": "ready", "detail": "; ".join([facts, *notes])}
