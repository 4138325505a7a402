"""A profile for a phone that is attached, from what can be read on it; nothing on it is changed."""

from __future__ import annotations

import re
from typing import Any

from base.deadline import Deadline
from base.errors import EnvironmentRefused, UnreadableAnswer
from base.parsing import whole_number
from base.units import GIB, MIB
from devices.capability import Capability, detect
from devices.identity import Identity, identify
from devices.profiles.profile import Backing, Profile, ZramDevice, ZramSection
from devices.profiles.reading import match_profile
from devices.profiles.spelling import spelled
from devices.transport import CommandResult, Exec, Read, Transport

_HEAD = """\
# {model}, written from what was found on the phone. Look it through, then put it where it is found:
#   ZRAM_LAB_PROFILES=FOLDER, the file's name is {name}.yaml; ./lab validate checks it.
# What is not here comes from {parent}: ./lab profile show {parent}
"""


def profile_of(transport: Transport) -> str:
    """Return the text of a profile for this phone, with the reason beside each value and what was not tried.

    Raises EnvironmentRefused for a phone that has no zram writeback.
    """
    deadline = Deadline.after(60)
    identity = identify(transport, deadline=deadline)
    parent = _parent(identity)
    zram = f"/sys/block/zram{parent.zram.number}"
    found = detect(transport, deadline=deadline, zram_number=parent.zram.number)
    if Capability.writeback not in found:
        raise EnvironmentRefused(
            f"{transport.serial}: this kernel has no zram writeback, so there is nothing to write a profile for",
            hint="it needs CONFIG_ZRAM_WRITEBACK, and the zram device that `zram: {number}` names",
        )
    algorithm, held, free = transport.execute(
        [Read(f"{zram}/comp_algorithm"), Read(f"{zram}/backing_dev"), Exec(("stat", "-f", "-c", "%a %S", "/data"))],
        deadline=deadline,
        keep_going=True,
    )
    reasons: dict[str, str] = {}
    values = {
        **_who(identity, transport, parent.name, reasons),
        "must_have": _promises(found, reasons),
        "zram": _zram(identity, algorithm, held, reasons),
        "backing": _backing(free, reasons),
    }
    head = _HEAD.format(model=identity.prop("ro.product.model") or "A phone", **{k: values[k] for k in ("name",)},
                        parent=values["extends"])  # fmt: skip
    return head + "\n" + spelled(values, lambda key: reasons.get(key, ""))


def _parent(identity: Identity) -> Profile:
    return match_profile(
        model=identity.prop("ro.product.model"),
        device=identity.prop("ro.product.device"),
        manufacturer=identity.prop("ro.product.manufacturer"),
    )


def _who(identity: Identity, transport: Transport, parent: str, reasons: dict[str, str]) -> dict[str, Any]:
    model, device = identity.prop("ro.product.model"), identity.prop("ro.product.device")
    name = re.sub(r"[^a-z0-9]+", "-", (model or device or transport.serial).lower()).strip("-") or "phone"
    if name == parent:
        name += "-own"
    reasons |= {
        "name": "what --device calls it",
        "extends": "the known profile that fits this phone best",
        "tried": "say true once a run on this phone went well",
        "match.device": "ro.product.device: every phone of this code name gets the profile",
        "match.model": "ro.product.model; it has no ro.product.device",
        "connection.adb.serial": "this very phone; without it --device and ANDROID_SERIAL say which",
        "root": "what worked just now; other ways were not tried",
    }
    match = {"device": device} if device else {"model": model} if model else None
    style = transport.root
    return {
        "name": name, "extends": parent, "tried": False, "match": match,
        "connection": {"adb": {"serial": transport.serial}}, "root": style if style != "none" else "auto",
    }  # fmt: skip


def _promises(found: frozenset[Capability], reasons: dict[str, str]) -> list[str]:
    lacking = sorted(set(Capability) - found)
    reasons["must_have"] = f"seen on the phone; not seen: {', '.join(lacking) or 'nothing'}"
    return [name for name in Capability if name in found]


def _zram(
    identity: Identity, algorithm: CommandResult, held: CommandResult, reasons: dict[str, str]
) -> dict[str, object]:
    is_held = held.ok and held.text not in ("", "none")
    device = ZramDevice.hot_add if is_held else ZramDevice.takeover
    default = ZramSection().disksize
    # A quarter of the memory: what is swapped out there must fit into what is left, if writeback fails.
    room = identity.ram_bytes // 4 // (16 * MIB) * 16 * MIB
    size = min(default, room) if room else default
    chosen = re.search(r"\[([\w-]+)\]", algorithm.stdout)
    offered = algorithm.text.replace("[", "").replace("]", "") if algorithm.ok else "unknown"
    reasons |= {
        "zram.device": f"it writes back to {held.text} already, and a reset would lose that"
        if is_held
        else "it has no backing device: it can be taken and put back; hot_add was not tried",
        "zram.disksize": f"the phone has {identity.ram_bytes / GIB:.1f} GiB of RAM",
        "zram.comp_algorithm": f"what the phone uses; offered: {offered}",
    }
    return {"device": str(device), "disksize": _size(size), "comp_algorithm": chosen[1] if chosen else None}


def _backing(free: CommandResult, reasons: dict[str, str]) -> dict[str, object]:
    default = Backing()
    size, seen = default.size, "free space on /data could not be read"
    try:
        blocks, block_bytes = (whole_number(word, "stat -f /data") for word in free.text.split()[:2])
    except (ValueError, UnreadableAnswer):
        pass
    else:
        there = blocks * block_bytes
        seen = f"/data has {there / GIB:.1f} GiB free"
        while size > 128 * MIB and size * 4 > there:
            size //= 2
    reasons |= {
        "backing.path": "made for the run and removed after it; that the file can be made was not tried",
        "backing.size": f"{seen}; at most a quarter of it",
        "backing.block_size": "what UFS has; whether direct I/O works on it was not tried",
    }
    return {"path": default.path, "size": _size(size), "block_size": _size(default.block_size)}


def _size(size: int) -> str:
    return f"{size // GIB}GiB" if size % GIB == 0 else f"{size // MIB}MiB" if size % MIB == 0 else str(size)
