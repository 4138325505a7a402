"""From what a user named to an open phone: which one, with which profile, booted if it is virtual."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from base.deadline import Deadline
from base.errors import EnvironmentRefused, ProfileError
from devices.capability import Capability, detect
from devices.clocks import ClockWatch
from devices.connect import attached, chosen_serials, connect
from devices.device import Device, open_device
from devices.health import Guard
from devices.identity import Identity
from devices.planned import PlannedTransport
from devices.profiles.profile import Profile
from devices.profiles.reading import known, load, match_profile
from devices.transcript import Transcript
from devices.transport import Transport
from devices.virtual.machines import PAGE_SIZES
from devices.virtual.phone import RunningPhone, VirtualPhoneConfig, start
from devices.zram import hot_add, zram_numbers

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Target:
    """What was named. ``profile`` is None when the phone itself decides (a serial, matched after connecting)."""

    name: str
    serial: str | None
    profile: Profile | None
    plan: str | None = None
    batch_sizes: tuple[int, ...] | None = None
    repeats: int | None = None
    precision: str | None = None
    budget: str | None = None

    def planned(
        self, *, plan: str, batch_sizes: tuple[int, ...] | None, repeats: int | None, precision: str | None = None,
        budget: str | None = None,
    ) -> Target:  # fmt: skip
        """With the run's options; ProfileError when they do not fit the profile."""
        target = dataclasses.replace(
            self, plan=plan, batch_sizes=batch_sizes, repeats=repeats, precision=precision, budget=budget
        )
        return dataclasses.replace(target, profile=target.resolve(self.profile) if self.profile else None)

    def resolve(self, profile: Profile) -> Profile:
        planned = profile.for_plan(self.plan) if self.plan else profile
        return planned.with_overrides(
            batch_sizes=self.batch_sizes, repeats=self.repeats, precision=self.precision, budget=self.budget
        )


@dataclass(slots=True)
class Phone:
    """An open phone. ``boot_s`` and ``image_build_s`` are 0 for one that was there already."""

    device: Device
    profile: Profile
    transcript: Transcript
    guard: Guard
    clock: ClockWatch
    virtual: RunningPhone | None = None
    boot_s: float = 0.0
    image_build_s: float = 0.0

    def why_lost(self) -> str:
        """What is known of a phone's end: for a virtual phone its QEMU's."""
        return (self.virtual.died() or "") if self.virtual else ""


def resolve_target(name: str | None, *, machine: Mapping[str, str | None] | None = None) -> Target:
    """A profile's name or path, a serial, or None for $ANDROID_SERIAL and else the virtual phone.

    ``machine`` chooses a virtual phone's kernel, arch and page_size instead of its profile, where it is not None.
    Raises ProfileError.
    """
    chosen = {key: value for key, value in (machine or {}).items() if value}
    if name is None:
        name = next(iter(chosen_serials()), "virtual")
    if name not in known() and not name.endswith((".yaml", ".yml")):
        if chosen:
            option = f"--{next(iter(chosen)).replace('_', '-')}"
            raise ProfileError(f"{option}: {name} is a serial; only a virtual phone's can be chosen")
        return Target(name, name, None)
    profile = load(name)
    if chosen:
        profile = profile.with_overrides(machine=chosen)
    if profile.connection.virtual is not None:
        return Target(profile.name, None, profile)
    adb = profile.connection.adb
    return Target(profile.name, adb.serial if adb else None, profile)


@contextmanager
def open_phone(target: Target, *, run_id: str, say: Say, planned: bool = False) -> Iterator[Phone]:
    """Boot or connect, become root, lease, heal, identify, see whether it is fit; all is put back at the end.

    ``planned``: the phone is only looked at, and its transport keeps what would have been changed.
    """
    transcript = Transcript(None)
    with ExitStack() as stack:
        virtual: RunningPhone | None = None
        image_s = 0.0
        serial = target.serial
        if target.profile and target.profile.connection.virtual:
            virtual, image_s = _boot(target.profile, say)
            stack.callback(virtual.stop)
            serial = virtual.serial
        serial = serial or _only_named(target)
        root = str(target.profile.root) if target.profile else "auto"
        adb = target.profile.connection.adb if target.profile else None
        transport: Transport = connect(
            serial, root=root, transcript=transcript, may_restart=not planned, at=adb.server if adb else None
        )
        stack.callback(transport.close)
        if planned:
            transport = PlannedTransport(transport)
        command_s = target.profile.deadlines.command if target.profile else 30.0

        def profile_of(identity: Identity) -> Profile:
            return target.profile or target.resolve(matching(identity))

        opened = open_device(
            transport, run_id=run_id, command_s=command_s, say=say,
            zram_number=lambda identity: profile_of(identity).zram.number,
        )  # fmt: skip
        device = stack.enter_context(opened)
        see_a_zram(device)
        profile = profile_of(device.identity)
        _spare_storage(serial, profile)
        guard = Guard(device, profile.limits, say)
        guard.before_run()
        say(f"phone: {device.identity.prop('ro.product.model')} ({serial}), kernel {device.identity.kernel_release}")
        clock = ClockWatch(device, virtual=device.identity.virtual, say=say)
        clock.begin()
        boot_s = virtual.boot_s if virtual else 0.0
        yield Phone(device, profile, transcript, guard, clock, virtual, boot_s, image_s)


def see_a_zram(device: Device) -> None:
    """What zram can do shows only at a device; where there is none, one is added for the look."""
    there_is_one = Capability.writeback in device.capabilities or zram_numbers(device)
    if there_is_one or Capability.hot_add not in device.capabilities:
        return
    with device.changes() as changes:
        hot_add(changes, [])
        device.capabilities = detect(device.transport, deadline=Deadline.after(device.command_s))


def _boot(profile: Profile, say: Say) -> tuple[RunningPhone, float]:
    wanted = profile.connection.virtual
    assert wanted is not None
    config = VirtualPhoneConfig(
        name="run",
        kernel=wanted.kernel,
        arch=wanted.arch,
        page_size=PAGE_SIZES[wanted.page_size],
        memory_bytes=wanted.memory,
        cpus=wanted.cpus,
        ufs_bytes=wanted.ufs,
    )
    began = time.monotonic()
    # Empty disks each time: a measurement starts from a known state, and a disk that an accident broke is no obstacle.
    phone = start(config, fresh=True, progress=say)
    return phone, max(0.0, time.monotonic() - began - phone.boot_s)


def _spare_storage(serial: str, profile: Profile) -> None:
    limit = profile.limits.written_per_run
    if profile.planned_writes > limit:
        raise EnvironmentRefused(
            f"{serial}: this plan writes up to {profile.planned_writes >> 20} MiB to the phone's storage, "
            f"limits.written_per_run is {limit >> 20} MiB",
            hint="measure less (--plan, --repeats, --batch-sizes) or raise the limit: storage wears",
        )


def matching(identity: Identity) -> Profile:
    """Return the profile of a phone that was named by its serial."""
    prop = identity.prop
    return match_profile(
        model=prop("ro.product.model"), device=prop("ro.product.device"), manufacturer=prop("ro.product.manufacturer")
    )


def _only_named(target: Target) -> str:
    """A profile without a serial needs one from ANDROID_SERIAL; a phone is not picked because it is there."""
    if chosen := chosen_serials():
        return chosen[0]
    raise EnvironmentRefused(
        f"profile {target.name} names no serial; attached: {', '.join(attached()) or 'no phone'}",
        hint="set connection.adb.serial in the profile or ANDROID_SERIAL",
    )
