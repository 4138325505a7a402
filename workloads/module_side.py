"""A side that is a build of zram's module: stock, a patch of the driver, or a module that was built elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from base.errors import EnvironmentRefused
from base.output import tell
from base.units import shown
from devices.device import Changes, Device
from devices.module_swap import check_exchangeable, swap_zram_module
from devices.virtual.machines import Machine, find
from devices.virtual.module_build import STOCK, module_for
from devices.zram import Zram
from workloads.stage import Stage

_SUFFIXES = (".patch", ".diff", ".ko")
_ARCH = {"aarch64": "arm64"}


def parse_build(text: str) -> str:
    """Return ``stock`` or the absolute path of a patch or module. Raises ValueError for anything else."""
    path = Path(text).expanduser().absolute()
    if text == STOCK:
        return text
    if path.suffix not in _SUFFIXES:
        raise ValueError(f"{shown(text)} is no build; expected {STOCK}, FILE.patch or FILE.ko")
    if not path.is_file():
        raise ValueError(f"{shown(text)}: no such file")
    return str(path)


def lacks_build(stage: Stage, wanted: str) -> str:
    """Say why this phone cannot have the build; it is built here, before anything is changed.

    Raises PatchRefused where the patch does not apply or compile.
    """
    if stage.profile.zram.module:
        return "the profile loads a build for the whole run (zram.module): leave that out"
    try:
        check_exchangeable(stage.device)
        _module(stage.device, wanted)
    except EnvironmentRefused as error:
        return str(error)
    return ""


def with_build(changes: Changes, stage: Stage, wanted: str) -> Stage:
    """Load the build in place of what is loaded; zram is empty afterwards."""
    swap_zram_module(changes, _module(stage.device, wanted))
    return replace(stage, zram=Zram(stage.device, stage.zram.number))


def _module(device: Device, wanted: str) -> Path:
    return module_for(wanted, _machine(device), progress=tell)


def _machine(device: Device) -> Machine | None:
    """The virtual phone's row in the table of machines; None for any other phone."""
    identity = device.identity
    if not identity.virtual:
        return None
    kernel = ".".join(identity.kernel_release.split(".")[:2])
    return find(kernel, _ARCH.get(identity.arch, identity.arch), identity.page_size_bytes)
