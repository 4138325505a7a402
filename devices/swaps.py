"""The swap devices of a phone: what /proc/swaps says of them, and which of them gets pages first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from base.errors import EnvironmentRefused, UnreadableAnswer
from base.parsing import whole_number
from base.units import shown
from devices.device import Changes, Device
from devices.journal import Expect, ExpectRule, Undo
from devices.transport import Exec, Read

# The most that swapon takes. Vendors start their own zram with 32758, and what is measured must be used before that.
FIRST_SWAP = 32767
_LEAST_PRIORITY = -32768
# The kernel escapes blanks in a name, so there are none.
_ROW = re.compile(r"(\S+)\s+(partition|file)\s+(\S+)\s+(\S+)\s+(\S+)")
_DELETED = r"\040(deleted)"


@dataclass(frozen=True, slots=True)
class Swap:
    """One swap device or file. ``name`` is the path that the kernel has for it, which need not exist: from another
    mount namespace it may lack /dev, and that of a node which was made anew says that it is deleted."""

    name: str
    partition: bool
    used_kib: int
    priority: int

    @property
    def node(self) -> str:
        """A path that swapoff takes. It looks for the device, and that one's node lies in /dev/block on any phone."""
        path = re.sub(r"\\([0-3][0-7]{2})", lambda octal: chr(int(octal[1], 8)), self.name.removesuffix(_DELETED))
        exists = not self.partition or (path.startswith("/dev/") and path == self.name)
        return path if exists else f"/dev/block/{path.rpartition('/')[2]}"

    def is_device(self, node: str) -> bool:
        """Whether this is the block device of that name, under whatever path."""
        return self.partition and self.node.rpartition("/")[2] == node.rpartition("/")[2]


def parse_swaps(text: str) -> Sequence[Swap]:
    """Rows of /proc/swaps, which is empty on a kernel without swap. Raises UnreadableAnswer for a row that is none."""
    swaps = []
    for line in text.splitlines():
        if line.startswith("Filename") or not line.strip():
            continue
        if (row := _ROW.match(line)) is None:
            raise UnreadableAnswer(f"/proc/swaps: {shown(line)} is no row of it")
        name, kind, _, used, priority = row.groups()
        used_kib = whole_number(used, f"/proc/swaps, used of {shown(name)}")
        rank = whole_number(priority, f"/proc/swaps, priority of {shown(name)}", least=_LEAST_PRIORITY)
        swaps.append(Swap(name, kind == "partition", used_kib, rank))
    return swaps


def swap_priority(proc_swaps: str, device: str) -> int | None:
    """Priority of ``device`` in /proc/swaps; None when it is not a swap device now."""
    return next((swap.priority for swap in parse_swaps(proc_swaps) if swap.is_device(device)), None)


def swaps_that_fit(device: Device) -> Sequence[tuple[Swap, int]]:
    """Each swap device, and how many KiB of available memory its pages would leave when it is switched off."""
    swaps, meminfo = device.execute(Read("/proc/swaps"), Read("/proc/meminfo"), keep_going=True)
    available = re.search(r"^MemAvailable:[ \t]+(\S+) kB", meminfo.stdout, re.MULTILINE)
    available_kib = whole_number(available[1], "/proc/meminfo MemAvailable") if available else 0
    # Pages that come back need page tables and their neighbours too.
    return [(swap, available_kib - swap.used_kib * 12 // 10) for swap in parse_swaps(swaps.stdout)]


def check_room(device: Device, swap: Swap, left_kib: int) -> None:
    """Raises EnvironmentRefused when the pages of ``swap`` do not fit in memory."""
    if left_kib < 0:
        raise EnvironmentRefused(
            f"{device.serial}: swapoff {swap.node} needs {swap.used_kib // 1024} MiB of memory, "
            f"only {(left_kib + swap.used_kib * 12 // 10) // 1024} MiB are available",
            hint="close apps or reboot the phone, or set `zram: {device: hot_add}` in the profile",
        )


def make_way(changes: Changes, measured: str) -> None:
    """Lower every other swap device that a swap of FIRST_SWAP on ``measured`` would not be used before.

    Raises EnvironmentRefused when one cannot be lowered: the pages in it do not fit in memory.
    """
    device = changes.device
    for swap, left_kib in swaps_that_fit(device):
        if swap.priority < FIRST_SWAP or swap.is_device(measured):
            continue
        if left_kib < 0:
            raise EnvironmentRefused(
                f"{device.serial}: the phone's own swap {swap.node} has priority {swap.priority}, so pages would go "
                f"there and not to {measured}; it cannot be lowered, for its {swap.used_kib // 1024} MiB do not fit "
                "in memory",
                hint="close apps or reboot the phone",
            )
        row = f"/{swap.node.rpartition('/')[2]}[^/]*[[:space:]]{swap.priority}$"
        expect = Expect(argv=("grep", "-E", row, "/proc/swaps"), value="/", match=ExpectRule.contains)
        off = Exec(("swapoff", swap.node))
        again = Exec(("swapon", "-p", str(swap.priority), swap.node))
        changes.will_undo(Undo(f"{swap.node} swap of priority {swap.priority}", (off, again), (expect,)))
        lower = Exec(("swapon", "-p", str(FIRST_SWAP - 1), swap.node))
        for result in device.execute(off, lower, seconds=120):
            result.check()
