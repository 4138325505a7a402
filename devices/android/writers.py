"""Programs of a phone that write zram pages back on their own: finding them, and keeping them quiet for a run.

mmd is an init service and can be stopped. The older ZramWriteback job lives in system_server: a job that is cancelled
cannot be scheduled again from outside, so it is told of and left. Vendors' daemons are stopped where init runs them.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from base.deadline import Deadline
from devices.device import Changes, Device
from devices.identity import parse_properties
from devices.journal import Expect, Undo
from devices.transport import CommandResult, Exec, Op, Transport

# mmd by its name; those of vendors by what they are called after: extm (Xiaomi), nandswap and hybridswapd:0 (OPPO and
# OnePlus, kernel threads), hyperhold and zswapd (Huawei and Honor), zram_wbd (Samsung), and a HAL that is called swap
# (vendor.xiaomi.hardware.swap@1.0-service). The kernel's own kswapd0 only begins so.
_NAME = re.compile(
    r"mmd|(?:.*[._@:/-])?(?:extm|nandswap|hybridswap|hyperhold|zswap|zram|(?<=hardware[.])swap|(?<=vendor[.])swap)"
    r"(?:d[0-9]*|writeback)?(?:[._@:/-].*)?"
)
# A worker that each kernel with zswap built in has from boot on; it has nothing to do while zswap is off, as on phones.
_IDLE_WORKERS = {"zswap-shrink"}
_JOBS = {811: "job android/811 (marks pages idle)", 812: "job android/812 (writes idle pages back)"}
_DELAYS = ("mm.zram.maintenance.first_delay_seconds", "mm.zram.maintenance.periodic_delay_seconds")
_NEVER_S = "2147483647"
_STOP_S, _PAUSE_S = 5.0, 0.1


@dataclass(frozen=True, slots=True)
class Writers:
    """What a phone has. ``delays`` are the properties that time mmd's rounds, with their values ("" is not set)."""

    services: tuple[str, ...] = ()
    daemons: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    delays: tuple[tuple[str, str], ...] = ()

    @property
    def unstoppable(self) -> tuple[str, ...]:
        return (*self.daemons, *self.jobs)


@dataclass(frozen=True, slots=True)
class Silenced:
    """What was stopped for the scope, and what goes on writing when it pleases: a caveat on every number."""

    stopped: tuple[str, ...]
    unstopped: tuple[str, ...]


def find_writers(transport: Transport, *, deadline: Deadline) -> Writers:
    """Those that run or are scheduled now; one round trip, nothing is changed."""
    asked = [Exec(("cmd", "jobscheduler", "get-job-state", "android", str(job))) for job in _JOBS]
    getprop, processes, *states = transport.execute(
        [Exec(("getprop",)), Exec(("ps", "-A", "-o", "NAME")), *asked], deadline=deadline, keep_going=True
    )
    properties = parse_properties(getprop.check().stdout)
    services = tuple(
        name
        for key, state in sorted(properties.items())
        if key.startswith("init.svc.") and state == "running" and _NAME.fullmatch(name := key[len("init.svc.") :])
    )
    # A service's process has the service's name or, where a vendor prefixes that, its last part.
    known = {part for service in services for part in (service, re.split(r"[._-]", service)[-1])}
    names = {name.strip("[]") for name in processes.stdout.split()}
    daemons = {name for name in names if _NAME.fullmatch(name)} - known - _IDLE_WORKERS
    jobs = tuple(_JOBS[job] for job, state in zip(_JOBS, states, strict=True) if _scheduled(state))
    delays = tuple((name, properties.get(name, "")) for name in _DELAYS) if "mmd" in services else ()
    return Writers(services, tuple(sorted(daemons)), jobs, delays)


def _scheduled(state: CommandResult) -> bool:
    """An unknown job is ``unknown(...)`` and a status of its own; releases without the command say neither."""
    return state.status == 0 and re.match(r"(pending|active|waiting|ready)\b", state.text) is not None


def stop_writers(changes: Changes) -> Silenced:
    """Stop what can be stopped until the scope is left, and only that is started again which ran before."""
    device = changes.device
    found = find_writers(device.transport, deadline=Deadline.after(device.command_s))
    if not found.services:
        return Silenced((), found.unstoppable)
    ops: list[Op] = []
    for service in found.services:
        state = Expect(argv=("getprop", f"init.svc.{service}"), value="running")
        changes.will_undo(Undo(f"service {service} runs", (Exec(("start", service)),), (state,)))
        ops.append(Exec(("stop", service)))
    for name, value in found.delays:
        expect = Expect(argv=("getprop", name), value=value)
        changes.will_undo(Undo(f"property {name}", (Exec(("setprop", name, value)),), (expect,)))
        ops.append(Exec(("setprop", name, _NEVER_S)))
    device.execute(*ops, keep_going=True)
    running = _still_running(device, found.services)
    stopped = tuple(name for name in found.services if name not in running)
    # A process may have gone with a service of quite another name.
    left = find_writers(device.transport, deadline=Deadline.after(device.command_s)) if found.daemons else found
    return Silenced(stopped, (*running, *left.daemons, *found.jobs))


def _still_running(device: Device, services: tuple[str, ...]) -> tuple[str, ...]:
    """Waits a little: a service that was told to stop is ``stopping`` until init has reaped it."""
    deadline = Deadline.after(_STOP_S)
    while True:
        results = device.execute(*(Exec(("getprop", f"init.svc.{name}")) for name in services), keep_going=True)
        running = tuple(name for name, state in zip(services, results, strict=True) if state.text != "stopped")
        if not running or deadline.expired:
            return running
        time.sleep(_PAUSE_S)
