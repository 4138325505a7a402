"""What a disk holds back of what it was given: UFS's WriteBooster, a fast buffer in front of the flash, and its cache.

Attributes are those of drivers/ufs/core/ufs-sysfs.c, below the controller's folder. A kernel has some of them, a phone
without UFS none. What it does not have, or does not want to say, is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from base.errors import EnvironmentRefused
from base.kernel import SECTOR
from devices.device import Changes, Device
from devices.journal import Expect, Undo
from devices.storage import Disk
from devices.transport import Read, Write

_SWITCH = "wb_on"
# By the names under which they are recorded.
_CONTROLLER = {
    "wb_on": _SWITCH,
    "wb_enable": "flags/wb_enable",
    "wb_avail_buf": "attributes/wb_avail_buf",
    "wb_cur_buf": "attributes/wb_cur_buf",
    "wb_flush_status": "attributes/wb_flush_status",
    "enable_wb_buf_flush": "enable_wb_buf_flush",
    "wb_flush_en": "flags/wb_flush_en",
    "wb_flush_during_h8": "flags/wb_flush_during_h8",
    "wb_life_time_est": "attributes/wb_life_time_est",
    "wb_shared_alloc_units": "device_descriptor/wb_shared_alloc_units",
    "segment_size": "geometry_descriptor/segment_size",
    "allocation_unit_size": "geometry_descriptor/allocation_unit_size",
}
_CACHE = "write_cache"
# wb_avail_buf counts in tenths of the buffer.
_TENTHS = 10


@dataclass(frozen=True, slots=True)
class HeldBack:
    """What the attributes said at one time, by name as the phone wrote it; None for one that is not there."""

    said: Mapping[str, str | None]

    @property
    def on(self) -> bool | None:
        """Whether WriteBooster takes what is written; None where it is not known."""
        known = [_flag(self.said.get(name)) for name in ("wb_on", "wb_enable")]
        return next((flag for flag in known if flag is not None), None)

    @property
    def left(self) -> float | None:
        """Which share of its buffer is free; None where it is not known."""
        tenths = _number(self.said.get("wb_avail_buf"))
        return None if tenths is None or tenths > _TENTHS else tenths / _TENTHS

    @property
    def buffer_bytes(self) -> int | None:
        """How large the buffer is now, or else at most; None where it is not known."""
        units = _number(self.said.get("wb_cur_buf")) or _number(self.said.get("wb_shared_alloc_units"))
        segment, segments = (_number(self.said.get(name)) for name in ("segment_size", "allocation_unit_size"))
        return units * segments * segment * SECTOR if units and segments and segment else None

    def facts(self) -> dict[str, str]:
        """Return what was said, without what is not there."""
        return {name: text for name, text in self.said.items() if text is not None}


def held_back(device: Device, disk: Disk | None) -> HeldBack:
    """Read the attributes of a disk and its controller; of a disk that is not known there are none."""
    if disk is None:
        return HeldBack({})
    controller = _controller(device, disk)
    paths = {name: f"{controller}/{path}" for name, path in _CONTROLLER.items()} if controller else {}
    paths[_CACHE] = f"/sys/class/block/{disk.name}/queue/{_CACHE}"
    results = device.execute(*map(Read, paths.values()), keep_going=True)
    said = {name: result.text.strip() if result.ok else None for name, result in zip(paths, results, strict=True)}
    return HeldBack(said)


def fits_buffer(before: HeldBack, after: HeldBack, written_bytes: float) -> bool:
    """Whether what was written may have gone to WriteBooster's buffer alone.

    It may where the buffer was on and not seen full, unless more was written than was free in it.
    """
    if not (before.on or after.on) or after.left == 0:
        return False
    free = before.buffer_bytes * before.left if before.buffer_bytes and before.left is not None else None
    return free is None or written_bytes <= free


def switch_write_booster_off(changes: Changes, disk: Disk | None) -> None:
    """Switch WriteBooster off until the scope is left; nothing is done where it is off.

    Raises EnvironmentRefused where it cannot be switched: a phone without the attribute, or one that switches it with
    its clocks.
    """
    device = changes.device
    held = held_back(device, disk)
    # What says whether it is on need not be what switches it: the way back reads the switch.
    on = _flag(held.said.get(_SWITCH))
    if held.on is False:
        return
    controller = _controller(device, disk) if disk else ""
    if on is None or not controller:
        raise EnvironmentRefused(
            f"{device.serial}: nothing here says whether WriteBooster is on",
            hint="leave `write_booster: off` out of the profile; the report then says that it is not known",
        )
    path = f"{controller}/{_SWITCH}"
    changes.will_undo(Undo("WriteBooster on", (Write(path, "1"),), (Expect(path, value="1"),)))
    done, seen = device.execute(Write(path, "0"), Read(path), keep_going=True)
    if _flag(seen.text if seen.ok else None) is not False:
        raise EnvironmentRefused(
            f"{device.serial}: WriteBooster stays on: {done.stderr.strip() or f'{path} reads {seen.text.strip()}'}",
            hint="a kernel that scales the clocks of its UFS switches it itself; leave `write_booster: off` out of the "
            "profile, and write more than its buffer holds",
        )


def _controller(device: Device, disk: Disk) -> str:
    """Return the folder of the controller that the disk hangs on; empty for a disk without a SCSI host."""
    folder, host, _ = device.run("readlink", "-f", f"/sys/class/block/{disk.name}").partition("/host")
    return folder if host else ""


def _flag(text: str | None) -> bool | None:
    return {"1": True, "true": True, "0": False, "false": False}.get(text.strip() if text else "")


def _number(text: str | None) -> int | None:
    """The value of an attribute in hexadecimal; None for what is no number."""
    return int(text, 16) if text and re.fullmatch(r"0x[0-9A-Fa-f]{1,16}", text.strip()) else None
