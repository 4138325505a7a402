"""Whether a zram device that is there already may be reset: who has it in use, and what it holds."""

from __future__ import annotations

import re

from base.errors import EnvironmentRefused
from base.units import shown
from devices.counters import MmStat
from devices.device import Device
from devices.swaps import swap_priority
from devices.transport import Exec, Read

# What mkswap writes at the end of the first page.
_HAS_SIGNATURE = "tail -c 10 | grep -c SWAPSPACE2"
# What an OPLUS kernel's driver adds; a reset clears them, and what their owner wrote there cannot be read back.
_OF_VENDORS = ("hybridswap_loop_device", "hybridswap_enable")
_UNUSED = ("", "0", "none", "null")
_HOT_ADD_HINT = "or set `zram: {device: hot_add}` in the profile, which measures on a second zram"


def check_takeover(device: Device, number: int = 0) -> None:
    """Raises EnvironmentRefused when a reset would lose what zram holds or is set to. Nothing is changed.

    Swap is no obstacle, as its pages go back to memory, nor is a device that was swap until now.
    """
    folder, node = f"/sys/block/zram{number}", f"/dev/block/zram{number}"
    mounts, swaps, holders, head, *reads = device.execute(
        Read("/proc/mounts"), Read("/proc/swaps"), Exec(("ls", f"{folder}/holders")),
        Exec(("sh", "-c", f"head -c {device.identity.page_size_bytes} {node} | {_HAS_SIGNATURE}"), accept=(0, 1)),
        *(Read(f"{folder}/{name}") for name in ("mm_stat", "backing_dev", *_OF_VENDORS)),
        keep_going=True,
    )  # fmt: skip
    mm_stat, backing, *of_vendors = (read.text.strip() if read.ok else "" for read in reads)
    if not reads[0].ok:
        raise EnvironmentRefused(
            f"{device.serial}: there is no {node}",
            hint="`ls /sys/block` on the phone lists its zram devices; name one in the profile: zram.number; "
            + _HOT_ADD_HINT,
        )
    if backing not in _UNUSED:
        raise EnvironmentRefused(
            f"{device.serial}: {node} has a backing device, {backing}; a reset would lose it",
            hint=f"stop the daemon that made it (docs/profiles.md), {_HOT_ADD_HINT}",
        )
    for name, value in zip(_OF_VENDORS, of_vendors, strict=True):
        if value not in _UNUSED and not value.startswith("hybridswap disable"):
            raise EnvironmentRefused(
                f"{device.serial}: {folder}/{name} is {shown(value)}; a reset would clear it for good",
                hint=f"have the vendor's swap switched off, {_HOT_ADD_HINT}",
            )
    user = _user_of(node, mounts.stdout, holders.stdout if holders.ok else "")
    is_swap = swap_priority(swaps.stdout, node) is not None or head.text == "1"
    held = MmStat.parse(mm_stat).orig_data_size if not is_swap else 0
    if user or held:
        raise EnvironmentRefused(
            f"{device.serial}: {node} is no swap and holds data"
            + (f", {user}" if user else f" ({held // 1024} KiB)")
            + "; a reset would lose them",
            hint=f"save them and reset it, {_HOT_ADD_HINT}",
        )


def _user_of(node: str, mounts: str, holders: str) -> str:
    """Who has it open, other than as swap."""
    point = re.search(rf"^/\S*/{node.rpartition('/')[2]} (\S+) ", mounts, re.MULTILINE)
    if point:
        return f"mounted at {point[1]}"
    return f"used by {', '.join(holders.split())}" if holders.split() else ""
