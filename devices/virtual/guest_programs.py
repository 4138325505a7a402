"""The virtual phone's own programs: what each is linked from, and where it goes on the phone."""

from __future__ import annotations

from pathlib import Path

from base.paths import REPO
from devices.c_build import Programs

_PROBE = REPO / "probe"
_SOURCES = Path(__file__).parent / "guest/src"

# By the names of the files in guest/src, and of those of the probe that both need.
_LINKED = {
    "su": ("su", "guest", "basics"),
    "dmctl": ("dmctl", "guest", "dm", "basics"),
    "am": ("am", "activity", "guest", "basics"),
    "app": ("app", "guest", "basics"),
    "lmkd": ("lmkd", "activity", "events", "pressure", "victims", "guest", "basics", "syscalls"),
    "mmd": ("mmd", "guest", "basics"),
    "system_server": (
        *("system_server", "activity", "calls", "commands", "compaction", "dump", "events", "processes", "starting"),
        *("zygote", "guest", "basics", "syscalls"),
    ),
}
_SHARED = ("basics", "dm", "syscalls")

# su is setuid root: that is what makes the phone a rooted one.
PLACES = {name: (f"system/bin/{name}", 0o4755 if name == "su" else 0o755) for name in _LINKED}


def guest_programs() -> Programs:
    return Programs("guest", {name: tuple(map(_source, linked)) for name, linked in _LINKED.items()}, include=(_PROBE,))


def _source(name: str) -> Path:
    return (_PROBE if name in _SHARED else _SOURCES) / f"{name}.c"
