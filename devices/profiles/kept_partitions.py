"""Partitions that no profile may have overwritten, whatever it says of erasing: a phone is lost without them."""

from __future__ import annotations

import re

# Names in /dev/block/by-name of AOSP and of Qualcomm's, MediaTek's, Samsung's and Google's phones, without the slot:
# what Android starts from, where it keeps the user's data and its own state, and what cannot be made again (a modem's
# calibration, keys, a boot loader).
_KEPT = re.compile(
    r"(userdata|metadata|super|system(_ext|_other|_dlkm)?|vendor(_boot|_kernel_boot|_dlkm)?|product|odm(_dlkm)?|"
    r"(init_|vendor_)?boot|dtbo?|vbmeta(_system|_vendor)?|recovery|misc|persist(ent)?|frp|pvmfw|"
    r"efs|sec_efs|efs_backup|modem(st[12]|_firmware)?|mdm\w*|fsg|fsc|md1img|nvram|nvdata|nvcfg|protect[12f]?|proinfo|"
    r"xbl(_config)?|abl|aop|tz|hyp|devcfg|keymaster|keystore|cmnlib(64)?|qupfw|uefi\w*|sbl\d?|rpm|imagefv|"
    r"lk\d?|preloader\w*|tee\d?|seccfg|para|bl[123]|bootloader|gpt|partition|param|up_param|steady|devinfo|dsp|"
    r"bluetooth|logfs|limits|storsec|multiimgoem|secdata|ssd)(_[ab])?",
    re.IGNORECASE,
)
_BY_NAME = "/by-name/"


def is_kept(name: str) -> bool:
    """Say whether Android, the modem or the boot loader keeps something in a partition of this name."""
    return _KEPT.fullmatch(name) is not None


def kept_name(path: str) -> str | None:
    """Return the partition's name where a path says that it is one of those."""
    _, by_name, name = path.rpartition(_BY_NAME)
    return name if by_name and is_kept(name) else None
