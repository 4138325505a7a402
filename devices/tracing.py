"""Events of the kernel's block layer, recorded by the kernel itself in a trace instance of our own.

An instance has its own buffer, clock, filters and switch (Documentation/trace/ftrace.rst), so another tracer on the
phone is not touched, and removing it frees the buffer and puts back all that was set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from base.deadline import Deadline
from base.errors import DeviceError
from base.parsing import whole_numbers
from devices.device import Device
from devices.journal import Expect, ExpectRule, Undo
from devices.probe.session import ProbeSession
from devices.transport import Exec, Op, Read, Write

TRACEFS = "/sys/kernel/tracing"
INSTANCE = f"{TRACEFS}/instances/zram-writeback-lab"
# The clock that the probe times with, so that events and faults can be put beside each other.
_CLOCK = "mono"
BLOCK_EVENTS = ("block_rq_issue", "block_rq_complete")
# A mapped device has no requests of its own: it hands the bios on to the device below.
BIO_EVENTS = ("block_bio_queue", "block_bio_complete")
# What an event takes in the buffer, rounded up: 100 bytes and its header.
_EVENT_BYTES = 160
# Of each CPU: all events may come from one.
_FEWEST_KIB, _MOST_KIB = 1024, 16 * 1024


class TracingRefused(DeviceError):
    """This phone gives no trace instance: no tracefs, no block events, or somebody holds our instance."""


@dataclass(frozen=True, slots=True)
class BlockTrace:
    """A trace instance that is set up and switched off; ``record`` switches it on for a scope."""

    device: Device
    disks: tuple[str, ...]
    other_tracer: str
    """what another tracer on the phone has switched on, or nothing"""

    @contextmanager
    def record(self, probe: ProbeSession) -> Iterator[None]:
        """An empty buffer, filled while the scope lasts. Over the probe's connection: a shell of its own is slow."""
        # Setting the clock, even to what it is, empties the buffer (tracing_set_clock() in kernel/trace/trace.c).
        _set(probe, "trace_clock", _CLOCK)
        _set(probe, "tracing_on", "1")
        try:
            yield
        finally:
            _set(probe, "tracing_on", "0")

    def fetch(self, local: Path, *, seconds: float = 120) -> str:
        """The recorded events as text. Raises DeviceError when the buffer was too small and events are missing."""
        self.device.transport.pull(f"{INSTANCE}/trace", local, deadline=Deadline.after(seconds))
        text = local.read_text(encoding="utf-8", errors="replace")
        local.unlink()
        head = text.split("\n", 4)
        entries = next((line for line in head if "entries-in-buffer/entries-written" in line), "")
        kept, _, written = entries.partition("written:")[2].split("#")[0].strip().partition("/")
        if kept != written:
            raise DeviceError(
                f"{self.device.serial}: the trace buffer was too small: {kept} of {written} events were kept",
                hint="measure less data at once (inflight.data in the profile)",
            )
        return text


def _set(probe: ProbeSession, name: str, value: str) -> None:
    reply = probe.write_attribute(f"{INSTANCE}/{name}", value)
    if reply.rc < 0:
        raise DeviceError(f"echo {value} > {INSTANCE}/{name}: {reply.errno}")


@contextmanager
def block_trace(
    device: Device, disks: Sequence[str], *, events: int, only_reads: bool = False, mapped: Sequence[str] = ()
) -> Iterator[BlockTrace]:
    """A trace of the requests of ``disks`` ("7:0"), and of the bios of ``mapped``, with room for so many events.

    Raises TracingRefused with the reason; nothing was changed then.
    """
    other = _check(device)
    undo = Undo(
        "trace instance removed",
        (Write(f"{INSTANCE}/tracing_on", "0"), Exec(("rmdir", INSTANCE))),
        (Expect(f"{INSTANCE}/tracing_on", match=ExpectRule.missing),),
    )
    with device.changes() as changes:
        changes.will_undo(undo)
        _set_up(device, {BLOCK_EVENTS: disks, BIO_EVENTS: mapped}, events, only_reads)
        yield BlockTrace(device, (*disks, *mapped), other)


def _check(device: Device) -> str:
    """What other tracers do, as text; TracingRefused when there can be no instance."""
    ours, events, instances, tracer, enabled = device.execute(
        Exec(("test", "-e", INSTANCE), accept=(0, 1)),
        Exec(("test", "-e", f"{TRACEFS}/events/block/block_rq_issue"), accept=(0, 1)),
        Exec(("test", "-w", f"{TRACEFS}/instances"), accept=(0, 1)),
        Read(f"{TRACEFS}/current_tracer"),
        Exec(("head", "-n", "3", f"{TRACEFS}/set_event")),
        keep_going=True,
    )
    if ours.status == 0:
        raise TracingRefused(
            f"{device.serial}: {INSTANCE} is there already: another run on this phone is tracing",
            hint="if none is, remove it with rmdir on the phone",
        )
    if events.status != 0 or instances.status != 0:
        what = "no block events in tracefs" if events.status else f"{TRACEFS}/instances cannot be written"
        raise TracingRefused(f"{device.serial}: {what}")
    busy = [tracer.text.strip()] if tracer.ok and tracer.text.strip() != "nop" else []
    busy += enabled.stdout.split() if enabled.ok else []
    return ", ".join(busy)


def _set_up(device: Device, wanted: Mapping[tuple[str, ...], Sequence[str]], events: int, only_reads: bool) -> None:
    kib = min(max(events * _EVENT_BYTES // 1024, _FEWEST_KIB), _MOST_KIB)
    ops: list[Op] = [
        Exec(("mkdir", INSTANCE)), Write(f"{INSTANCE}/tracing_on", "0"), Write(f"{INSTANCE}/trace_clock", _CLOCK),
        Write(f"{INSTANCE}/buffer_size_kb", str(kib)),
    ]  # fmt: skip
    for event, disks in ((event, disks) for names, disks in wanted.items() if disks for event in names):
        folder = f"{INSTANCE}/events/block/{event}"
        ops += [Write(f"{folder}/filter", _filter(disks, only_reads)), Write(f"{folder}/enable", "1")]
    for result in device.execute(*ops):
        if not result.ok:
            raise TracingRefused(f"{device.serial}: {result.op}: {result.stderr.strip() or 'refused'}")


def _filter(disks: Sequence[str], only_reads: bool) -> str:
    # The kernel's own numbers: 12 bits of major above 20 bits of minor (include/linux/kdev_t.h).
    numbers = [
        major << 20 | minor for major, minor in (whole_numbers(disk.split(":"), 2, "a disk's number") for disk in disks)
    ]
    wanted = " || ".join(f"dev == {number}" for number in numbers)
    return f'({wanted}) && rwbs ~ "R*"' if only_reads else wanted
