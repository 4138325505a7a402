"""Starting, finding and stopping virtual phones, and doing to them what a lab cannot do to a real one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from base.deadline import Deadline, wait_until
from base.errors import CommandFailed, DeviceError, DeviceLost, DeviceTimeout, EnvironmentRefused
from base.units import GIB
from devices.journal_files import forget
from devices.virtual import adb_link
from devices.virtual.accelerator import choose, choose_machine
from devices.virtual.boot import await_console, last_words, why_again
from devices.virtual.image import Image, ensure_image
from devices.virtual.machines import DEFAULT
from devices.virtual.qemu import (
    NETWORK_DEVICE,
    THROTTLE_GROUP,
    Hardware,
    QemuProcess,
    environment,
    kill,
    phone_argv,
    supports_direct_io,
)
from devices.virtual.qmp import Qmp
from devices.virtual.state import UNITS, PhoneState, QemuRecord, all_states, phone_state

STOP_S = 30.0

# From the guest's word that it is up until its shell answers: adb's server and the guest's adbd, which starts last.
_SHELL_S = 120.0
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class VirtualPhoneConfig:
    """What kind of phone. ``name`` is the folder of its disks: the same name again is the same phone."""

    name: str = "default"
    kernel: str = DEFAULT.kernel
    arch: str = "auto"
    page_size: int = DEFAULT.page_size
    memory_bytes: int = 2 * GIB
    cpus: int = 2
    ufs_bytes: int = 4 * GIB
    adbd_root: bool = False
    accelerator: str = "auto"
    mirror: str | None = None


@dataclass(frozen=True, slots=True)
class RunningPhone:
    """A phone that was started, by whichever process."""

    name: str
    serial: str
    accelerator: str
    pid: int
    arch: str
    page_size: int
    kernel: str
    kernel_release: str
    memory_bytes: int
    cpus: int
    detached: bool
    console_log: Path
    boot_s: float
    qmp: Qmp
    _state: PhoneState = field(repr=False)
    _run: QemuRecord = field(repr=False)

    def died(self) -> str | None:
        """Why the phone does not run (any more), with its last words; None while it does."""
        if self._run.alive:
            return _stopped_by_host(self.qmp)
        words = last_words(self._state.console_log, self._state.qemu_log)
        return f"QEMU of virtual phone {self.name} (pid {self.pid}) is gone{words}"

    def stop(self) -> None:
        """Writes out what is cached, then off. Fine if it is off already. Takes at most ``STOP_S``."""
        deadline = Deadline.after(STOP_S)
        if self._run.alive:
            try:
                adb_link.ask(self.serial, "sync", deadline=Deadline.after(STOP_S / 2))
                self.qmp.execute("quit", deadline=Deadline.after(STOP_S / 4))
                wait_until("QEMU's end", lambda: not self._run.alive, deadline)
            except DeviceError:
                # Cable out, panic, QEMU hanging: then as with a real phone, hold the power button.
                self.power_cut()
        self._forget()

    def power_cut(self) -> None:
        """Off at once; what the phone had not yet written is lost."""
        kill(self.pid, self._run.pid_start)
        self._forget()

    def _forget(self) -> None:
        # Another phone may have been given the port since.
        now = self._state.run()
        if now is None or now.port != self._run.port:
            adb_link.disconnect(self.serial)

    def unplug_cable(self) -> None:
        """adb loses the phone in the middle of whatever it does; the phone runs on."""
        self.qmp.execute("set_link", name=NETWORK_DEVICE, up=False)
        adb_link.disconnect(self.serial)

    def plug_cable(self, *, deadline: Deadline | None = None) -> None:
        """adb finds the phone again. Raises DeviceTimeout if it does not."""
        self.qmp.execute("set_link", name=NETWORK_DEVICE, up=True)
        _await_shell(self.serial, deadline or Deadline.after(30.0), self.died)

    def set_storage_limit(self, *, bytes_per_s: int = 0, iops: int = 0) -> None:
        """Slows all of the UFS device down to a total of reads and writes; 0 is no limit."""
        limits = {"bps-total": bytes_per_s, "iops-total": iops}
        self.qmp.execute("qom-set", path=f"/objects/{THROTTLE_GROUP}", property="limits", value=limits)


def start(
    config: VirtualPhoneConfig, *, fresh: bool = False, detached: bool = False, progress: Callable[[str], None]
) -> RunningPhone:
    """Boots the phone and returns when its shell answers over adb.

    Unless ``detached`` it ends with this process. ``fresh`` throws its disks away first. What chance did to a boot (a
    panic of the emulated CPU, a clock that the kernel measured wrongly) is tried again.

    Raises EnvironmentRefused (the host cannot, or the phone runs already), DeviceLost (it did not come up).
    """
    state = phone_state(config.name)
    with state.locked():
        if run := state.run():
            raise EnvironmentRefused(
                f"virtual phone {config.name} runs already: {run.serial}, pid {run.pid}",
                hint=f"Use it by its serial, end it with ./lab phone stop --name {config.name}, or choose a --name.",
            )
        adb_link.require_server()
        image, accelerator = _choose(config, progress)
        page_bytes = config.page_size
        to_format = state.disks(config.ufs_bytes, page_bytes=page_bytes, fresh=fresh)
        if to_format:
            forget(_serialno(config.name))
        for attempt in range(1, _ATTEMPTS + 1):
            progress(f"booting {image.kernel_release} with {accelerator}")
            try:
                phone = _boot(config, state, image, accelerator, to_format=to_format, detached=detached)
                break
            except BootByChance as error:
                if attempt == _ATTEMPTS:
                    raise
                progress(f"{error}, booting again")
        state.mark_formatted(page_bytes)
        return phone


class BootByChance(DeviceLost):
    """A boot that went wrong in a way that the next one need not."""


def _choose(config: VirtualPhoneConfig, progress: Callable[[str], None]) -> tuple[Image, str]:
    machine = choose_machine(
        config.kernel,
        config.arch,
        config.page_size,
        accelerator=config.accelerator,
        mirror=config.mirror,
        progress=progress,
    )
    image = ensure_image(machine, progress=progress, mirror=config.mirror)
    return image, choose(config.accelerator, image, progress=progress)


def running() -> list[RunningPhone]:
    """All virtual phones of this user that run, by name."""
    return [_phone(state, run) for state in all_states() if (run := state.run())]


def find(name: str) -> RunningPhone | None:
    """The running phone of that name, if it runs."""
    return next((phone for phone in running() if phone.name == name), None)


def _phone(state: PhoneState, run: QemuRecord) -> RunningPhone:
    return RunningPhone(
        name=state.name,
        serial=run.serial,
        accelerator=run.accelerator,
        pid=run.pid,
        arch=run.arch,
        page_size=run.page_size,
        kernel=run.kernel,
        kernel_release=run.kernel_release,
        memory_bytes=run.memory_bytes,
        cpus=run.cpus,
        detached=run.detached,
        console_log=state.console_log,
        boot_s=run.boot_s,
        qmp=Qmp(state.qmp_socket),
        _state=state,
        _run=run,
    )


def _boot(
    config: VirtualPhoneConfig, state: PhoneState, image: Image, accelerator: str, *, to_format: bool, detached: bool
) -> RunningPhone:
    """One try. Whatever ends it early, Ctrl-C too, leaves no QEMU behind."""
    began = time.monotonic()
    run = _spawn(config, state, image, accelerator, to_format=to_format, detached=detached)
    phone = _phone(state, run)
    try:
        rate = await_console(state.console_log, run.pid, phone.died, name=config.name)
        if why := why_again(state.console_log, rate):
            raise BootByChance(f"virtual phone {config.name}: {why}", hint="A busy host? Try again when it is idle.")
        _await_shell(phone.serial, Deadline.after(_SHELL_S), phone.died)
    except DeviceLost as error:
        phone.power_cut()
        if why := "" if isinstance(error, BootByChance) else why_again(state.console_log, None):
            raise BootByChance(f"{error}", hint=error.hint) from error
        raise
    except BaseException:
        phone.power_cut()
        raise
    return _phone(state, state.record_boot_time(run, round(time.monotonic() - began, 2)))


def _serialno(name: str) -> str:
    return f"virtual-{name}"


def _spawn(
    config: VirtualPhoneConfig, state: PhoneState, image: Image, accelerator: str, *, to_format: bool, detached: bool
) -> QemuRecord:
    for left_over in (state.console_log, state.qmp_socket):
        left_over.unlink(missing_ok=True)
    port = state.choose_port()
    options = {
        "serialno": _serialno(config.name),
        "qemu": "1",
        "lab.accelerator": accelerator,
        "lab.image": image.key,
        "lab.format": str(int(to_format)),
        "lab.adbd_root": str(int(config.adbd_root)),
    }
    direct_io = supports_direct_io(state.folder / UNITS[0])
    hardware = Hardware(config.memory_bytes, config.cpus, accelerator, port, direct_io, options)
    process = QemuProcess(
        phone_argv(image, hardware),
        folder=state.folder,
        log=state.qemu_log,
        env=environment(image.qemu),
        detached=detached,
    )
    run = QemuRecord(
        pid=process.pid,
        pid_start=process.pid_start,
        port=port,
        arch=image.machine.processor.name,
        page_size=image.machine.page_size,
        kernel=image.machine.kernel,
        kernel_release=image.kernel_release,
        accelerator=accelerator,
        memory_bytes=config.memory_bytes,
        cpus=config.cpus,
        detached=detached,
    )
    state.record(run)
    return run


def _await_shell(serial: str, deadline: Deadline, died: Callable[[], str | None]) -> None:
    reason = "not tried"

    def answers() -> bool:
        nonlocal reason
        if why := died():
            raise DeviceLost(why)
        reason = adb_link.connect(serial)
        if "connected to" in reason and "failed" not in reason and "unable" not in reason:
            reason = adb_link.not_ready(serial, Deadline.after(min(10.0, max(deadline.left_s, 0.1))))
        return not reason

    try:
        wait_until(f"{serial} to answer over adb", answers, deadline)
    except DeviceTimeout as error:
        raise DeviceTimeout(f"{error}: {reason}", hint="./lab doctor looks at the adb server.") from error


def _stopped_by_host(qmp: Qmp) -> str | None:
    """QEMU stops the guest when an image file cannot be written."""
    try:
        status = qmp.execute("query-status", deadline=Deadline.after(5.0))["status"]
    except (DeviceLost, CommandFailed):
        return None  # starting or ending: the process itself tells which
    return (
        "QEMU stopped the phone: its disk image cannot be written (host disk full?)" if status == "io-error" else None
    )
