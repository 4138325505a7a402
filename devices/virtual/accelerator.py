"""KVM where a guest really boots with it, TCG otherwise; and which processor the phone has when nobody chose one.

/dev/kvm being there proves nothing: hosts that are virtual machines themselves may have it and cannot run a guest, or
hang on trying. So a guest is booted with it once, and the verdict is kept until the host reboots or QEMU changes.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from base.errors import EnvironmentRefused
from devices.virtual.image import Image, Qemu, ensure_qemu
from devices.virtual.machines import Machine, find, of_host
from devices.virtual.parts import Progress, virtual_cache
from devices.virtual.qemu import base_argv, ends_with_us, environment, kernel_argv

CHOICES = ("auto", "kvm", "tcg")

_DEVICE = Path("/dev/kvm")
_TRIAL_S = 12.0
_TRIAL_MEMORY_BYTES = 512 << 20
_BOOTED = "lab: trial boot completed"
# What QEMU's firmware for PCs says when it has been through.
_FIRMWARE_DONE = "No bootable device"
# QEMU says this and then sits there with the guest stopped.
_HOPELESS = ("KVM internal error", "kvm run failed")


@dataclass(frozen=True, slots=True)
class AcceleratorTrial:
    """Whether KVM runs a guest here, and how we know."""

    works: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Kvm:
    """KVM on this host: its device, and the folder that keeps what trials have shown."""

    device: Path = _DEVICE
    kept: Path | None = None

    def out_of_question(self) -> str:
        """Why there is nothing to try, or nothing."""
        if not self.device.exists():
            return f"there is no {self.device}"
        if not os.access(self.device, os.R_OK | os.W_OK):
            return f"{self.device} may not be used by this user (group kvm)"
        return ""

    def verdict(
        self, guest: str, qemu_version: str, trial: Callable[[], AcceleratorTrial], *, progress: Progress
    ) -> AcceleratorTrial:
        """Whether KVM runs this kind of guest in this boot of the host with this QEMU; tried now if not known yet."""
        if why := self.out_of_question():
            return AcceleratorTrial(False, why)
        kept = (self.kept or virtual_cache()) / f"kvm-{guest}.json"
        asked = {"boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(), "qemu": qemu_version}
        try:
            known = json.loads(kept.read_text())
            if known["asked"] == asked:
                return AcceleratorTrial(bool(known["works"]), str(known["reason"]))
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no verdict yet, or not one that can be read: try
        progress(f"trying whether a {guest} boots with KVM (at most {_TRIAL_S:g} s, once)")
        verdict = trial()
        kept.write_text(json.dumps({"asked": asked, "works": verdict.works, "reason": verdict.reason}) + "\n")
        return verdict


KVM = Kvm()


def choose_machine(
    kernel: str, arch: str, page_size: int, *, accelerator: str, mirror: str | None, progress: Progress, kvm: Kvm = KVM
) -> Machine:
    """The machine that was asked for; for ``auto`` one of the host's processor where KVM runs guests, else the default.

    To find that out only QEMU is fetched. ProfileError names the machines that there are if there is no such one.
    """
    wanted = find(kernel, arch, page_size)
    if arch != "auto" or accelerator == "tcg" or wanted.processor.is_the_hosts:
        return wanted
    host = of_host()
    if why := kvm.out_of_question():
        progress(f"an emulated {wanted.processor.name} phone (--arch auto), because {why}")
        return wanted
    qemu = ensure_qemu(host, progress=progress, mirror=mirror)
    verdict = kvm.verdict("firmware", qemu.version, lambda: firmware_with_kvm(qemu), progress=progress)
    if not verdict.works:
        progress(f"an emulated {wanted.processor.name} phone (--arch auto): KVM does not work here: {verdict.reason}")
        return wanted
    progress(f"a phone with the host's processor, {host.name} (--arch auto), because KVM works here")
    return find(kernel, host.name, page_size)


def choose(wish: str, image: Image, *, progress: Progress, kvm: Kvm = KVM) -> str:
    """``tcg`` or ``kvm``. EnvironmentRefused if ``kvm`` was asked for and does not work."""
    processor = image.machine.processor
    if wish == "kvm" and not processor.is_the_hosts:
        raise EnvironmentRefused(
            f"KVM runs guests of the host's own processor, not {processor.name}",
            hint="Leave the processor to us, --arch auto, or have it emulated, --accelerator tcg.",
        )
    if wish == "tcg" or not processor.is_the_hosts:
        return "tcg"
    verdict = kvm.verdict("kernel", image.qemu.version, lambda: kernel_with_kvm(image), progress=progress)
    if verdict.works:
        return "kvm"
    if wish == "kvm":
        raise EnvironmentRefused(
            f"KVM does not work here: {verdict.reason}", hint="Leave the choice to us: --accelerator auto."
        )
    progress(f"emulating the CPU (TCG), because KVM does not work here: {verdict.reason}")
    return "tcg"


def firmware_with_kvm(qemu: Qemu) -> AcceleratorTrial:
    """Boots nothing but a PC's firmware with KVM: what cannot run that runs no kernel."""
    argv = base_argv(qemu, accelerator="kvm", cpus=1, memory_bytes=_TRIAL_MEMORY_BYTES)
    return _trial(qemu, [*argv, "-chardev", "stdio,id=said", "-device", "isa-debugcon,iobase=0x402,chardev=said"])


def kernel_with_kvm(image: Image) -> AcceleratorTrial:
    """Boots the phone's kernel with KVM until its init speaks."""
    argv = base_argv(image.qemu, accelerator="kvm", cpus=1, memory_bytes=_TRIAL_MEMORY_BYTES)
    return _trial(image.qemu, [*argv, *kernel_argv(image, {"lab.trial": "1"}, accelerator="kvm"), "-serial", "stdio"])


def _trial(qemu: Qemu, argv: list[str]) -> AcceleratorTrial:
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [*ends_with_us(), *argv],
            env=environment(qemu),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            return _watch(process, output.fileno())
        finally:
            process.kill()
            process.wait()


def _watch(process: subprocess.Popen[bytes], output: int) -> AcceleratorTrial:
    end = time.monotonic() + _TRIAL_S
    while True:
        ended, expired = process.poll() is not None, time.monotonic() > end
        said = os.pread(output, 1 << 20, 0).decode(errors="replace")
        if _BOOTED in said or _FIRMWARE_DONE in said:
            return AcceleratorTrial(True, "a guest booted")
        for sign in _HOPELESS:
            if sign in said:
                return AcceleratorTrial(False, f"QEMU says: {sign}")
        if ended:
            last = (said.strip().splitlines() or ["no message"])[-1]
            return AcceleratorTrial(False, f"QEMU ended with status {process.returncode}: {last}")
        if expired:
            return AcceleratorTrial(False, f"the guest did not come up within {_TRIAL_S:g} s")
        time.sleep(0.05)
