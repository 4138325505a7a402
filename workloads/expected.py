"""Names of the points that a run would have, told from profiles alone: no phone is asked.

They decide whether a selection can select anything before a phone is touched. A phone may have fewer points; one whose
kernel has compressors of its vendor has more, which are known here only where the profile lists them.
"""

from __future__ import annotations

from collections.abc import Iterable

from base.errors import ProfileError
from devices.phone import Target
from devices.profiles.profile import Profile
from devices.profiles.reading import known, load
from workloads.app_model import SwitchCondition
from workloads.compressors import compressors
from workloads.writeback import sweep_name

# What the kernel's own drivers/block/zram/Kconfig offers.
_KERNEL_ALGORITHMS = ("lzo", "lzo-rle", "lz4", "lz4hc", "zstd", "deflate", "842")


def expected_names(target: Target, point: str) -> list[str]:
    """Names of all ``sweep``, ``compressor`` or ``condition`` points that the target's profile can bring.

    A phone that was named by its serial picks its profile later, so it may be any.
    """
    profiles = [target.profile] if target.profile else list(_planned(target))
    names = {"sweep": _sweeps, "compressor": _compressors, "condition": _conditions}[point]
    return list(dict.fromkeys(name for profile in profiles for name in names(profile)))


def _planned(target: Target) -> Iterable[Profile]:
    for name in known():
        try:
            yield target.resolve(load(name))
        except ProfileError:  # one without this plan, which the phone cannot pick either
            continue


def _sweeps(profile: Profile) -> list[str]:
    wanted = profile.sweep
    return [sweep_name(data, pages, order) for data in wanted.sizes for pages in wanted.pages for order in wanted.order]


def _compressors(profile: Profile) -> list[str]:
    wanted = profile.compressors.algorithms
    algorithms = _KERNEL_ALGORITHMS if wanted == "auto" else wanted
    return [point.name for both in (False, True) for point in compressors(algorithms, has_compressed_writeback=both)]


def _conditions(profile: Profile) -> list[str]:
    apps = profile.apps
    return [str(SwitchCondition(trigger, size)) for trigger in apps.writeback for size in (None, *apps.batch_sizes)]
