"""A look at a phone before a night measures it: is it there, root, free, cool, charged, and what the farm's file says?

It leases the phone for the look and puts back what a killed run left on it; nothing else is changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from base.deadline import Deadline
from base.errors import EXIT_DEVICE_LOST, EXIT_REFUSED, EXIT_RESTORE_FAILED, LabError
from base.parsing import number_or_none
from devices.capability import no_writeback
from devices.connect import connect
from devices.device import Device, holder_of, open_device
from devices.health import Health, read_health
from devices.phone import matching
from devices.profiles.profile import Profile
from devices.profiles.sections import ZramDevice
from devices.transport import Exec, Read
from farm.shelf import ShelfPhone, profile_of

_LOOK_S = 60.0
# A phone whose calendar is off by more than a day makes certificates and logs useless; it is told, no more.
_CLOCK_OFF_S = 24 * 3600.0
_NORMAL_EOL = ("0x00", "0x01", "0", "1", None, "")


class Fitness(StrEnum):
    """What a look at a phone says: measure it; somebody else has it now; not fit, or not there."""

    fit = "fit"
    in_use = "in use"
    unfit = "unfit"
    broken = "broken"


@dataclass(frozen=True, slots=True)
class Checkup:
    """What a look found. ``status`` is the exit status that a run would have had; ``facts`` is what the phone is."""

    fitness: Fitness
    reason: str = ""
    status: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0


Check = Callable[[ShelfPhone, str], Checkup]


def check_phone(phone: ShelfPhone, plan: str) -> Checkup:
    """Look at one phone; whatever it answers, this returns."""
    began_s = time.monotonic()
    notes: list[str] = []
    try:
        found = _looked_at(phone, plan, notes)
    except LabError as error:
        is_broken = error.exit_status == EXIT_RESTORE_FAILED
        status = error.exit_status if error.exit_status in (EXIT_DEVICE_LOST, EXIT_RESTORE_FAILED) else EXIT_REFUSED
        found = Checkup(Fitness.broken if is_broken else Fitness.unfit, error.for_people(), status, {}, notes)
    except Exception as error:  # noqa: BLE001 an answer that nobody foresaw must not cost the other phones' night
        found = Checkup(Fitness.unfit, f"its answers make no sense: {error!r}", EXIT_REFUSED, {}, notes)
    seconds = round(time.monotonic() - began_s, 2)
    return Checkup(found.fitness, found.reason, found.status, found.facts, found.notes, seconds)


def _looked_at(phone: ShelfPhone, plan: str, notes: list[str]) -> Checkup:
    profile = profile_of(phone, plan)
    if profile and profile.connection.virtual:
        return Checkup(Fitness.fit, facts={"profile": profile.name, "virtual": True})
    adb = profile.connection.adb if profile else None
    root = str(profile.root) if profile else "auto"
    with closing(connect(phone.serial, root=root, at=(adb.server if adb else None) or phone.server)) as transport:
        if holder := holder_of(transport, deadline=Deadline.after(_LOOK_S)):
            return Checkup(Fitness.in_use, f"in use by {holder}", EXIT_REFUSED, {}, notes)
        with open_device(transport, run_id="checkup", say=notes.append) as device:
            profile = profile or matching(device.identity).for_plan(plan)
            health = read_health(device)
            facts = _facts(device, profile, health)
            reason = next(_objections(device, phone, profile, health, notes), "")
    return Checkup(Fitness.unfit if reason else Fitness.fit, reason, EXIT_REFUSED if reason else 0, facts, notes)


def _facts(device: Device, profile: Profile, health: Health) -> dict[str, Any]:
    identity = device.identity
    return {
        "profile": profile.name, "model": identity.prop("ro.product.model"), "kernel_release": identity.kernel_release,
        "build": identity.prop("ro.build.fingerprint"), "boot_id": device.boot_id,
        "battery_percent": health.battery_percent, "temperature_c": health.temperature_c,
        "disk_written_bytes": health.disk_written_bytes, **{f"ufs_{name}": value for name, value in _wear(device)},
    }  # fmt: skip


def _wear(device: Device) -> Iterator[tuple[str, str | None]]:
    yield from ((name, device.identity.ufs.get(name)) for name in ("life_time_estimation_a", "eol_info"))


def _objections(device: Device, phone: ShelfPhone, profile: Profile, health: Health, notes: list[str]) -> Iterator[str]:
    """Why the phone may not be measured now, the worst first; what is only worth knowing goes into ``notes``."""
    identity, limits = device.identity, profile.limits
    mounts, clock = device.execute(Read("/proc/mounts"), Exec(("date", "+%s")), keep_going=True)
    if any(words[1:2] == ["/data"] and words[3].split(",")[0] == "ro" for words in _mounted(mounts.stdout)):
        yield "its storage (/data) is mounted read-only"
    lacking = no_writeback(device.transport, device.capabilities, deadline=Deadline.after(_LOOK_S))
    if lacking and profile.zram.device is not ZramDevice.hot_add:
        yield lacking
    for tag, seen in (("kernel", identity.kernel_release), ("build", identity.prop("ro.build.fingerprint") or "")):
        wanted = phone.tags.get(tag)
        if wanted and not (seen == wanted or seen.startswith(f"{wanted}.")):
            yield f"tag {tag} is {wanted}, the phone has {seen or 'none'}: correct the tag, or flash the phone"
    if health.battery_percent is not None and health.battery_percent < limits.battery:
        yield f"battery at {health.battery_percent} %, limits.battery is {limits.battery} %"
    # The run waits for it to cool; only one that can hardly do so in time is left for a later look.
    if health.hotter_than(limits.temperature + 15):
        yield f"{health.temperature_c:.0f} °C, limits.temperature is {limits.temperature:g} °C"
    if identity.ufs.get("eol_info") not in _NORMAL_EOL:
        notes.append(f"storage near its end of life: eol_info {identity.ufs['eol_info']}")
    seconds = number_or_none(clock.text)
    if seconds is not None and abs(seconds - time.time()) > _CLOCK_OFF_S:
        notes.append("its clock is off by more than a day")


def _mounted(mounts: str) -> list[list[str]]:
    return [words for line in mounts.splitlines() if len(words := line.split()) > 3]
