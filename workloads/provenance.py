"""Reads what a run measures on: the facts that travel with every number."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from base.paths import REPO
from devices.backing import with_queue
from devices.capability import ZRAM_ATTRIBUTES
from devices.device import Device
from devices.module_swap import BUILD_ID, MODULE, module_build_id
from devices.phone import Phone
from devices.transport import Exec, Read
from devices.write_booster import held_back
from devices.zram import offered, selected
from records.model import Provenance
from workloads.stage import Stage

_GOVERNOR = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
_TOOLS = ("adbutils", "pytest", "numpy", "ziglang")


def provenance(phone: Phone, stage: Stage | None) -> Provenance:
    """Read the facts, once per run, after the stage is set.

    Without a stage the phone is not asked, and its zram stays unknown.
    """
    device, identity, profile = phone.device, phone.device.identity, phone.profile
    attributes = stage.zram.read_many(*ZRAM_ATTRIBUTES) if stage else {}
    listing = device.run("ls", stage.zram.dir).split() if stage else []
    algorithms = attributes.get("comp_algorithm") or ""
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
            "node": stage.zram.node if stage else None,
            "how": str(profile.zram.device),
            "comp_algorithm": profile.zram.comp_algorithm or selected(algorithms),
            "algorithms": offered(algorithms),
            "module": _module(device) if stage else None,
        },
        backing=_backing(stage) if stage else {},
        profile=profile.name,
        profile_sha256=profile.sha256,
        virtual=identity.virtual,
        accelerator=identity.accelerator,
        git_commit=_commit(),
        tool_versions={name: version(name) for name in _TOOLS} | {"probe": device.probe.sha256[:12]},
        host={"system": platform.platform(), "cpus": os.cpu_count(), "load_1min": os.getloadavg()[0]},
        root_style=device.transport.root,
        selinux=identity.selinux,
    )


def governor(device: Device) -> str | None:
    """Return what decides how fast the first CPU runs; None where the kernel does not say."""
    return device.read_many([_GOVERNOR])[_GOVERNOR]


def _module(device: Device) -> dict[str, str | None]:
    """Tell whether zram is a module, and which build of it. Only a module has a state.

    A build of the lab's says in its version what it was built from: stock, or the patch's hash.
    """
    state, build_id, said = device.execute(
        Read(f"{MODULE}/initstate"), Exec(BUILD_ID), Read(f"{MODULE}/version"), keep_going=True
    )
    kind = "module" if state.ok else "built in"
    built_from = {"version": said.text.strip()} if said.ok else {}
    return {"kind": kind, "build id": module_build_id(build_id) or None, **built_from}


def _backing(stage: Stage) -> dict[str, Any]:
    """The backing device, and the settings of the queue of the disk below it: that is where writes wait."""
    if stage.disk is None:
        return stage.backing.facts()
    disk = with_queue(stage.device, replace(stage.backing, node=f"/dev/block/{stage.disk.name}"))
    held = held_back(stage.device, stage.disk)
    return {**stage.backing.facts(), "disk_queue": disk.queue, "held_back": held.facts(), "write_booster": held.on}


def _commit() -> str | None:
    command = ["git", "-C", str(REPO), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except OSError:  # no git on this host
        return None
    return done.stdout.strip() or None
