"""KVM where a guest really boots with it, TCG otherwise.

/dev/kvm being there proves nothing: hosts that are virtual machines themselves may have it and cannot run a guest, or
hang on trying. So a kernel is booted with it once, and the verdict is kept until the host reboots or QEMU changes.
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
from devices.virtual.image import Image
from devices.virtual.parts import Progress, virtual_cache
from devices.virtual.qemu import base_argv, environment, kernel_command_line

CHOICES = ("auto", "kvm", "tcg")

_DEVICE = Path("/dev/kvm")
_TRIAL_S = 12.0
_TRIAL_MEMORY_BYTES = 512 << 20
_SUCCESS = "lab: trial boot completed"
# QEMU says this and then sits there with the guest stopped.
_HOPELESS = ("KVM internal error", "kvm run failed")


@dataclass(frozen=True, slots=True)
class AcceleratorTrial:
    """Whether KVM runs a guest here, and how we know."""

    works: bool
    reason: str


Trial = Callable[[Image], AcceleratorTrial]


def choose(wish: str, image: Image, *, progress: Progress, device: Path = _DEVICE) -> str:
    """``tcg`` or ``kvm``. EnvironmentRefused if ``kvm`` was asked for and does not work."""
    if wish == "tcg":
        return "tcg"
    verdict = kvm_verdict(image, progress=progress, device=device)
    if verdict.works:
        return "kvm"
    if wish == "kvm":
        raise EnvironmentRefused(f"KVM does not work here: {verdict.reason}", hint="Leave the choice to us: auto.")
    progress(f"emulating the CPU (TCG), because KVM does not work here: {verdict.reason}")
    return "tcg"


def kvm_verdict(
    image: Image, *, progress: Progress, device: Path = _DEVICE, trial: Trial | None = None, kept: Path | None = None
) -> AcceleratorTrial:
    """The verdict for this boot of the host and this QEMU; tried now if it is not known yet."""
    if not device.exists():
        return AcceleratorTrial(False, f"there is no {device}")
    if not os.access(device, os.R_OK | os.W_OK):
        return AcceleratorTrial(False, f"{device} may not be used by this user (group kvm)")
    kept = kept or virtual_cache() / "kvm.json"
    asked = {"boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(), "qemu": image.qemu_version}
    try:
        known = json.loads(kept.read_text())
        if known["asked"] == asked:
            return AcceleratorTrial(bool(known["works"]), str(known["reason"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no verdict yet, or not one that can be read: try
    progress(f"trying whether a guest boots with KVM (at most {_TRIAL_S:g} s, once)")
    verdict = (trial or boot_with_kvm)(image)
    kept.write_text(json.dumps({"asked": asked, "works": verdict.works, "reason": verdict.reason}) + "\n")
    return verdict


def boot_with_kvm(image: Image) -> AcceleratorTrial:
    """Boots the phone's kernel with KVM until its init speaks."""
    argv = base_argv(image, accelerator="kvm", cpus=1, memory_bytes=_TRIAL_MEMORY_BYTES)
    argv += ["-append", kernel_command_line({"lab.trial": "1"}, accelerator="kvm"), "-serial", "stdio"]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            argv, env=environment(image), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
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
        if _SUCCESS in said:
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
