"""The tracefs of FakePhone: one instance at a time, with block events in the kernel's own format."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from base.kernel import SECTORS_PER_4K
from devices.fake.android import Refused
from devices.fake.storage import Request

TRACEFS = "/sys/kernel/tracing"
_HEAD = """\
# tracer: nop
#
# entries-in-buffer/entries-written: {kept}/{written}   #P:2
#
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
"""
# What an event takes in the buffer.
_EVENT_BYTES = 100
_EVENTS = ("block_rq_issue", "block_rq_complete", "block_bio_queue", "block_bio_complete")
_MAPPED = "254:"
_CLOCKS = ("local", "global", "mono", "boot")


def tracefs_files() -> dict[str, str]:
    """The files of a tracefs that nobody uses."""
    return {
        f"{TRACEFS}/current_tracer": "nop", f"{TRACEFS}/set_event": "", f"{TRACEFS}/instances/.": "",
        **{f"{TRACEFS}/events/block/{event}/enable": "0" for event in _EVENTS},
    }  # fmt: skip


def _new_instance(folder: str) -> dict[str, str]:
    settings = {"tracing_on": "1", "trace_clock": "local", "buffer_size_kb": "7", "trace": ""}
    for event in _EVENTS:
        settings |= {f"events/block/{event}/filter": "none", f"events/block/{event}/enable": "0"}
    return {f"{folder}/{name}": value for name, value in settings.items()}


@dataclass
class FakeTracefs:
    """What the instances of a tracefs record. The files are the phone's."""

    files: Callable[[], dict[str, str]]
    _requests: dict[str, list[Request]] = field(default_factory=dict)

    def make(self, folder: str) -> None:
        """Make an instance, as mkdir does. Raises Refused where there is none to be had."""
        if f"{TRACEFS}/instances/." not in self.files():
            raise Refused("No such file or directory")
        if f"{folder}/tracing_on" in self.files():
            raise Refused("File exists")
        self.files().update(_new_instance(folder))
        self._requests[folder] = []

    def remove(self, folder: str) -> None:
        """Remove an instance and what it recorded, as rmdir does."""
        if self._requests.pop(folder, None) is None:
            raise Refused("No such file or directory")
        for path in [path for path in self.files() if path.startswith(f"{folder}/")]:
            del self.files()[path]

    def write(self, path: str, value: str) -> None:
        """Write a setting. Raises Refused as the kernel refuses."""
        if path not in self.files():
            raise Refused("No such file or directory")
        folder, name = self._split(path)
        if name == "trace_clock":
            if value not in _CLOCKS:
                raise Refused("Invalid argument")
            # Events of two clocks cannot lie in one buffer.
            self._requests[folder] = []
        if name == "filter" and not re.search(r"dev == \d+", value):
            raise Refused("Invalid argument")
        self.files()[path] = value

    def told(self, request: Request) -> None:
        """A disk served a request: instances that are switched on and want it record it."""
        for folder, requests in self._requests.items():
            if self.files()[f"{folder}/tracing_on"] == "1" and self._wanted(folder, request):
                requests.append(request)

    def text(self, path: str) -> str:
        """Return what the file ``trace`` of an instance says."""
        folder = path.rpartition("/")[0]
        # An event is cut to its microsecond, which must not put a completion before its issue.
        events = sorted(
            event
            for request in self._requests[folder]
            for event in ((request.issued_ns // 1000, 0, request), (request.done_ns // 1000, 1, request))
        )
        room = int(self.files()[f"{folder}/buffer_size_kb"]) * 1024 * 2 // _EVENT_BYTES
        lines = [_line(us, done, request) for us, done, request in events[-room:]]
        return _HEAD.format(kept=len(lines), written=len(events)) + "".join(lines)

    def _split(self, path: str) -> tuple[str, str]:
        folder = next((known for known in self._requests if path.startswith(f"{known}/")), "")
        return folder, path.rpartition("/")[2]

    def _wanted(self, folder: str, request: Request) -> bool:
        event = f"{folder}/events/block/{_EVENTS[2 if request.disk.startswith(_MAPPED) else 0]}"
        if self.files()[f"{event}/enable"] != "1":
            return False
        wanted = self.files()[f"{event}/filter"]
        return request.disk in _disks(wanted) and ("rwbs" not in wanted or request.flags.startswith("R"))


@cache
def _disks(wanted: str) -> frozenset[str]:
    """The disks that a filter lets through: 12 bits of major above 20 bits of minor."""
    return frozenset(f"{int(n) >> 20}:{int(n) & 0xFFFFF}" for n in re.findall(r"dev == (\d+)", wanted))


def _line(us: int, done: int, request: Request) -> str:
    who, state, event = ("<idle>-0", "d.H2.", _EVENTS[1]) if done else ("probe-457", ".....", _EVENTS[0])
    size, name = ("() ", "[0]") if done else ("4096 () ", "[probe]")
    priority = " be,0,4"
    if request.disk.startswith(_MAPPED):
        event, size, priority = _EVENTS[2 + done], "", ""
    where = f"{size}{request.sector} + {SECTORS_PER_4K}{priority}"
    what = f"{request.disk.replace(':', ',')} {request.flags} {where} {name}"
    return f"{who:>20} [00{1 - done}] {state} {us // 1_000_000:>6}.{us % 1_000_000:06}: {event}: {what}\n"
