"""QEMU's command line for the phone, and its process."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from base.errors import EnvironmentRefused
from devices.virtual.elf import argv_in_root
from devices.virtual.host_tsc import tsc_khz
from devices.virtual.image import Image, Qemu
from devices.virtual.machines import X86_64, of_host
from devices.virtual.state import UNITS, process_start

NETWORK_DEVICE = "net0"
THROTTLE_GROUP = "storage"

# Translated code beside the guest's memory; the default of 1 GiB would fill up in a long run.
_TCG_CACHE_MIB = 256


@dataclass(frozen=True, slots=True)
class Hardware:
    """What of a phone is chosen at its start. Sizes in bytes; ``options`` reach the guest as ro.boot.* properties."""

    memory_bytes: int
    cpus: int
    accelerator: str
    port: int
    direct_io: bool
    options: dict[str, str]


def base_argv(qemu: Qemu, *, accelerator: str, cpus: int, memory_bytes: int) -> list[str]:
    """A machine without kernel, disks and network."""
    accel = f"tcg,thread=multi,tb-size={_TCG_CACHE_MIB}" if accelerator == "tcg" else accelerator
    return [
        *argv_in_root(qemu.root, qemu.processor.qemu),
        *("-L", str(qemu.root / "usr/share/qemu"), "-L", str(qemu.root / "usr/share/seabios")),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", *qemu.processor.machine),
        *("-accel", accel, "-smp", str(cpus), "-m", f"{memory_bytes >> 20}M"),
    ]


def kernel_argv(image: Image, options: dict[str, str], *, accelerator: str) -> list[str]:
    """What a machine boots. A panic resets it, which ends QEMU (-no-reboot); a ramfs root is never swapped out."""
    processor = image.machine.processor
    words = [f"console={processor.console}", "loglevel=4", "panic=-1", "rootfstype=ramfs"]
    if accelerator == "tcg":
        words += processor.emulated
        if processor is X86_64 and (khz := tsc_khz()):
            # Its time stamp counter is the host's. On a busy host it would measure it wrongly, up to ten times.
            words.append(f"tsc_early_khz={khz}")
    words += [f"androidboot.{key}={value}" for key, value in options.items()]
    return ["-kernel", str(image.vmlinuz), "-initrd", str(image.initramfs), "-append", " ".join(words)]


def phone_argv(image: Image, hardware: Hardware) -> list[str]:
    """The whole phone. File names are relative to the phone's folder, in which QEMU is started."""
    return [
        *base_argv(
            image.qemu, accelerator=hardware.accelerator, cpus=hardware.cpus, memory_bytes=hardware.memory_bytes
        ),
        *kernel_argv(image, hardware.options, accelerator=hardware.accelerator),
        *("-serial", "file:console.log", "-qmp", "unix:qmp.sock,server=on,wait=off"),
        *_storage(direct_io=hardware.direct_io),
        *_network(hardware.port),
    ]


def _storage(*, direct_io: bool) -> list[str]:
    """UFS with a logical unit per image; all of them share one throttle group, which limits nothing at first."""
    direct = "on" if direct_io else "off"
    argv = ["-object", f"throttle-group,id={THROTTLE_GROUP}", "-device", "ufs,serial=virtual,mcq=true"]
    for lun, name in enumerate(UNITS):
        file = f"driver=file,filename={name},node-name=file{lun},cache.direct={direct},discard=unmap,aio=threads"
        throttle = f"driver=throttle,file=raw{lun},throttle-group={THROTTLE_GROUP},node-name=unit{lun},discard=unmap"
        raw = f"driver=raw,file=file{lun},node-name=raw{lun},cache.direct={direct},discard=unmap"
        argv += [
            "-blockdev",
            file,
            "-blockdev",
            raw,
            "-blockdev",
            throttle,
            "-device",
            f"ufs-lu,drive=unit{lun},lun={lun}",
        ]
    return argv


def _network(port: int) -> list[str]:
    """adb's port and nothing else: ``restrict`` keeps the guest off every network."""
    user = f"user,id={NETWORK_DEVICE},restrict=on,hostfwd=tcp:127.0.0.1:{port}-:5555"
    return ["-netdev", user, "-device", f"virtio-net-pci,netdev={NETWORK_DEVICE},romfile="]


def environment(qemu: Qemu) -> dict[str, str]:
    return {**os.environ, "QEMU_MODULE_DIR": str(qemu.root / of_host().libraries / "qemu")}


def ends_with_us() -> list[str]:
    """What a command is prefixed with, so that the kernel ends it when the thread that starts it ends, however."""
    # The shell looks again for its parent, which may have been killed before the signal was asked for.
    look = '[ "$PPID" = "$0" ] && exec "$@"'
    return ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", look, str(os.getpid())]


class QemuProcess:
    """A started QEMU.

    Unless ``detached`` it ends with this process, however that ends: the kernel sends it SIGKILL when its parent
    *thread* ends (PR_SET_PDEATHSIG), so the thread that starts it here does nothing but wait for it.
    """

    def __init__(self, argv: Sequence[str], *, folder: Path, log: Path, env: dict[str, str], detached: bool) -> None:
        prefix = [] if detached else ends_with_us()
        started: SimpleQueue[subprocess.Popen[bytes] | OSError] = SimpleQueue()

        def keep() -> None:
            try:
                with log.open("wb") as output:
                    # A session of its own: Ctrl-C in the terminal is for us, who put the phone back before it goes.
                    process = subprocess.Popen(
                        [*prefix, *argv],
                        cwd=folder,
                        env=env,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        start_new_session=True,
                    )
            except OSError as error:
                started.put(error)
                return
            started.put(process)
            process.wait()

        threading.Thread(target=keep, name="qemu", daemon=True).start()
        process = started.get()
        if isinstance(process, OSError):
            raise EnvironmentRefused(
                f"QEMU cannot be started: {process}", hint="setpriv is in util-linux; ./lab phone build checks QEMU."
            ) from process
        self.pid = process.pid
        self.pid_start = process_start(self.pid) or 0


def supports_direct_io(file: Path) -> bool:
    """Whether the host's file system can leave out its page cache (tmpfs cannot, on older kernels)."""
    try:
        os.close(os.open(file, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return False
    return True


def kill(pid: int, pid_start: int) -> None:
    """SIGKILL for a QEMU that may not be our child and may be gone, and wait until it is."""
    if process_start(pid) != pid_start:
        return
    os.kill(pid, signal.SIGKILL)
    for _ in range(500):
        if process_start(pid) != pid_start:
            return
        time.sleep(0.01)
