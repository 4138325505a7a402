"""Reads what a run measures on: the facts that travel with every number."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from devices.capability import ZRAM_ATTRIBUTES
from devices.phone import Phone
from devices.zram import selected
from records.model import Provenance
from workloads.stage import Stage

_TOOLS = ("adbutils", "pytest", "numpy", "ziglang")


def provenance(stage: Stage, phone: Phone, project: Path) -> Provenance:
    """Read the facts, once per run, after the stage is set."""
    device, identity, profile = phone.device, phone.device.identity, phone.profile
    attributes = stage.zram.read_many(*ZRAM_ATTRIBUTES)
    listing = device.run("ls", stage.zram.dir).split()
    return Provenance(
        serial=identity.prop("ro.serialno") or device.serial,
        device=profile.name,
        manufacturer=identity.prop("ro.product.manufacturer"),
        model=identity.prop("ro.product.model"),
        build=identity.prop("ro.build.fingerprint"),
        kernel_release=identity.kernel_release,
        kernel_build=identity.kernel_build,
        arch=identity.arch,
        page_size_bytes=identity.page_size_bytes,
        ram_bytes=identity.ram_bytes,
        cpus=identity.cpus,
        ufs=identity.ufs,
        zram_attributes=[name for name in ZRAM_ATTRIBUTES if name in listing],
        capabilities=sorted(device.capabilities),
        zram={
            "node": stage.zram.node,
            "how": str(profile.zram.device),
            "comp_algorithm": profile.zram.comp_algorithm or selected(attributes["comp_algorithm"] or ""),
            "algorithms": (attributes["comp_algorithm"] or "").replace("[", "").replace("]", "").split(),
        },
        backing=stage.backing.facts(),
        profile=profile.name,
        profile_sha256=profile.sha256,
        virtual=identity.virtual,
        accelerator=identity.accelerator,
        git_commit=_commit(project),
        tool_versions={name: version(name) for name in _TOOLS} | {"probe": device.probe.sha256[:12]},
        host={"system": platform.platform(), "cpus": os.cpu_count(), "load_1min": os.getloadavg()[0]},
        root_style=str(getattr(device.transport, "root", "none")),
        selinux=identity.selinux,
    )


def _commit(project: Path) -> str | None:
    command = ["git", "-C", str(project), "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
