"""The probe's commands, a method for each: what they take, and the type that they answer with.

probe/README.md says what each command does. Keys are the probe's own: sizes in bytes, durations in ns unless the name
says otherwise. ``seconds`` is how long the answer may take. Every method raises ProbeFailed when the probe says no,
DeviceLost when it is gone, and ReplyNotUnderstood when its answer is not what the command answers with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from devices.probe import replies
from devices.probe.app_replies import AppsEnded, AppsMade, AppsSwitched
from devices.probe.control import Control
from devices.probe.hammering import Blocks, Hammered, Poked, StepsBeside
from devices.probe.mapped import Below, MappedAttached, MappedDetached

T = TypeVar("T")
Value = str | int | bool

_S = 60.0


@dataclass(frozen=True, slots=True)
class DevicePages:
    """Pages of a block device: all from ``lo`` to ``hi``, or ``pick`` of them drawn by ``pick_seed``."""

    path: str
    lo: int
    hi: int
    pick: int | None = None
    pick_seed: int | None = None

    def options(self) -> dict[str, Value | None]:
        """Return the keys by which the probe's commands name them."""
        return {"path": self.path, "lo": self.lo, "hi": self.hi, "pick": self.pick, "pick_seed": self.pick_seed}


class Commands(ABC):
    """Commands that stand alone: they work in a process of their own and in a session."""

    @abstractmethod
    def _call(self, reply: type[T], command: str, *, seconds: float = _S, **options: Value | None) -> T:
        """Send a command with those of its options that are not None, and read its answer as ``reply``."""

    def hello(self) -> replies.Hello:
        """Ask who answers, and for both clocks."""
        return self._call(replies.Hello, "hello")

    def overhead(self, samples: int, *, seconds: float = _S) -> replies.Overhead:
        """Measure what timing itself costs."""
        return self._call(replies.Overhead, "overhead", samples=samples, seconds=seconds)

    def loop_attach(
        self, file: str, *, size: int, direct: bool, block: int, allocate: bool, pin: bool, seconds: float = _S
    ) -> replies.LoopAttached:
        """Attach a file to a free loop device; the file is made when it is not there."""
        return self._call(
            replies.LoopAttached, "loop-attach", file=file, size=size, direct=direct, block=block, allocate=allocate,
            pin=pin, seconds=seconds,
        )  # fmt: skip

    def loop_detach(self, file: str, *, remove: bool = False) -> replies.LoopDetached:
        """Detach every loop device that has this file behind it."""
        return self._call(replies.LoopDetached, "loop-detach", file=file, remove=remove)

    def mapped_attach(self, file: str, *, size: int, seconds: float = _S) -> MappedAttached:
        """Make a file and a device of the device mapper over its blocks, and prove that the one is the other."""
        return self._call(MappedAttached, "mapped-attach", file=file, size=size, seconds=seconds)

    def mapped_detach(self, file: str, *, remove: bool = False) -> MappedDetached:
        """Remove the device over this file's blocks."""
        return self._call(MappedDetached, "mapped-detach", file=file, remove=remove)

    def dm_below(self, number: str) -> Below:
        """Ask what lies below a mapped device ("254:0") and where in it; refused where sectors may move."""
        return self._call(Below, "dm-below", dev=number)

    def fill_device(self, pages: DevicePages, *, mix: str, seed: int, seconds: float = _S) -> replies.Filled:
        """Write pages of this content to a block device."""
        return self._call(replies.Filled, "fill", **pages.options(), mix=mix, seed=seed, seconds=seconds)

    def verify_device(self, pages: DevicePages, *, mix: str, seed: int, seconds: float = _S) -> replies.Verified:
        """Read pages of a block device and compare them with what ``fill_device`` wrote."""
        return self._call(replies.Verified, "verify", **pages.options(), mix=mix, seed=seed, seconds=seconds)

    def free(self, pages: DevicePages, *, seconds: float = _S) -> replies.Freed:
        """Discard pages of a block device."""
        return self._call(replies.Freed, "free", **pages.options(), seconds=seconds)

    def corrupt_device(self, path: str, page: int) -> replies.Done:
        """Flip a bit of a page of a block device."""
        return self._call(replies.Done, "corrupt", path=path, page=page)

    def write_attribute(self, path: str, value: str) -> replies.AttributeWritten:
        """Write once to a file of sysfs."""
        return self._call(replies.AttributeWritten, "write-timed", path=path, value=value)

    def write_timed(
        self, path: str, value: str, *, zram: int, disks: Sequence[str] = (), sample: bool = False,
        seconds: float = _S,
    ) -> replies.WriteTimed:  # fmt: skip
        """Write once to an attribute of zram and count what it did: zram itself, and these disks."""
        watched: dict[str, Value | None] = {"disks": ",".join(disks), "sample": sample} if disks else {}
        return self._call(
            replies.WriteTimed, "write-timed", path=path, value=value, zram=zram, seconds=seconds, **watched
        )

    def extents(self, file: str, out: str) -> replies.Extents:
        """Write to ``out`` where the pieces of a file are on its disk."""
        return self._call(replies.Extents, "extents", file=file, out=out)

    def control(self, *, file: str | None = None) -> Control:
        """Time a fixed stretch of CPU work, and fixed reads of ``file`` past the page cache."""
        return self._call(Control, "control", file=file)

    def hammer_path(
        self, path: str, *, pages: int, mix: str, seed: int, zram: int, duration_s: int, readers: int = 0,
        writers: int = 0, freers: int = 0, clashers: int = 0, piece: int | None = None, pokes: str | None = None,
        seconds: float = _S,
    ) -> Hammered:  # fmt: skip
        """Read, write and free the first pages of a device or file from many threads, while others poke zram."""
        return self._call(
            Hammered, "hammer", path=path, pages=pages, mix=mix, seed=seed, zram=zram, seconds=duration_s + seconds,
            readers=readers, writers=writers, freers=freers, clashers=clashers, piece=piece, pokes=pokes,
            duration_s=duration_s,
        )  # fmt: skip

    def poke(self, *, zram: int, duration_s: int, pokes: str, pages: int | None = None, seconds: float = _S) -> Poked:
        """Write to zram's attributes over and over, each loop in a thread of its own."""
        return self._call(
            Poked, "poke", zram=zram, duration_s=duration_s, pokes=pokes, pages=pages, seconds=duration_s + seconds
        )

    def meanwhile(self, *, zram: int, first: str, disk: str, others: Sequence[str], seconds: float = _S) -> StepsBeside:
        """Carry out a step, and others once the disk is at work on it; each in a thread of its own."""
        return self._call(
            StepsBeside, "meanwhile", zram=zram, first=first, disk=disk, others=",".join(others), seconds=seconds
        )

    def blocks(self, path: str, *, seconds: float = _S) -> Blocks:
        """Look at each block of a backing device for what lies in it."""
        return self._call(Blocks, "blocks", path=path, seconds=seconds)

    def fs_shutdown(self, path: str) -> replies.Done:
        """Have a file system on a loop device fail all further I/O."""
        return self._call(replies.Done, "fs-shutdown", path=path)

    def kworkers(self) -> replies.Kworkers:
        """List the kernel's unbound workers of ordinary priority."""
        return self._call(replies.Kworkers, "kworkers")

    def renice(self, pids: Sequence[int], minus: int) -> replies.Reniced:
        """Give kernel workers the nice value ``-minus``."""
        return self._call(replies.Reniced, "renice", pids=",".join(map(str, pids)), minus=minus)


class AreaCommands(Commands):
    """Commands about memory areas, which live as long as the probe's process."""

    def fill_area(self, name: str, size_bytes: int, *, mix: str, seed: int) -> replies.Filled:
        """Make a memory area with pages of this content."""
        return self._call(replies.Filled, "fill", name=name, bytes=size_bytes, mix=mix, seed=seed)

    def verify_area(self, name: str, *, seconds: float = _S) -> replies.Verified:
        """Read an area and compare it with what it was filled with."""
        return self._call(replies.Verified, "verify", name=name, seconds=seconds)

    def corrupt_area(self, name: str, page: int) -> replies.Done:
        """Flip a bit of a page of an area."""
        return self._call(replies.Done, "corrupt", name=name, page=page)

    def drop(self, name: str) -> replies.Done:
        """Give an area's memory back."""
        return self._call(replies.Done, "drop", name=name)

    def pageout(self, name: str, *, tries: int | None = None, seconds: float = _S) -> replies.PagedOut:
        """Ask the kernel to swap an area out, until it is."""
        return self._call(replies.PagedOut, "pageout", name=name, tries=tries, seconds=seconds)

    def slots(self, name: str, *, out: str | None = None) -> replies.Slots:
        """Find an area's slots in swap; ``out`` is the file for all of them."""
        return self._call(replies.Slots, "slots", name=name, out=out)

    def writeback(
        self, name: str, *, zram: int, pick: int | None = None, pick_seed: int | None = None,
        order: str | None = None, grammar: str | None = None, seconds: float = _S,
    ) -> replies.SlotsWrittenBack:  # fmt: skip
        """Have zram write back the slots of an area's pages, all or ``pick`` of them, and no others."""
        return self._call(
            replies.SlotsWrittenBack, "writeback", name=name, zram=zram, pick=pick, pick_seed=pick_seed, order=order,
            grammar=grammar, seconds=seconds,
        )  # fmt: skip

    def touch(
        self, name: str, *, zram: int, order: str, seed: int, out: str, io: str | None = None, seconds: float = _S
    ) -> replies.Touched:
        """Touch every page of an area and time each one; ``out`` is the file for the samples."""
        return self._call(
            replies.Touched, "touch", name=name, zram=zram, order=order, seed=seed, out=out, io=io, seconds=seconds
        )

    def race(
        self, name: str, *, victim: str, zram: int, disk: str, seed: int, out: str, grammar: str | None = None,
        writer: str | None = None, burn_percent: int | None = None, seconds: float = _S,
    ) -> replies.Raced:  # fmt: skip
        """Touch pages of an area while the area ``victim`` is written back; ``out`` is the file for the samples.

        ``writer`` none or burn: the same loop while nothing is written, and a thread sleeps or burns CPU time instead.
        """
        return self._call(
            replies.Raced, "race", name=name, victim=victim, zram=zram, disk=disk, seed=seed, out=out, grammar=grammar,
            writer=writer, burn_percent=burn_percent, seconds=seconds,
        )  # fmt: skip

    def reads(
        self, name: str, *, zram: int, files: Sequence[str], out: str, most: int, pause_us: int, call_pages: int,
        seed: int, writes: bool, seconds: float = _S,
    ) -> replies.ReadsTimed:  # fmt: skip
        """Time reads of these files while an area is written back; ``out`` is the file for the samples.

        Each writeback has ``call_pages`` pages. A read begins after a random pause, the first of ``pause_us`` at most,
        others as long as a writeback; ``most`` reads of a file end it, and so does the end of the area. Without
        ``writes`` nothing is written back meanwhile, and all pauses are like the first.
        """
        return self._call(
            replies.ReadsTimed, "reads", name=name, zram=zram, files=",".join(files), out=out, reads=most,
            pause_us=pause_us, call_pages=call_pages, seed=seed, writer="write" if writes else "none", seconds=seconds,
        )  # fmt: skip

    def hammer_area(
        self, name: str, *, zram: int, duration_s: int, readers: int = 0, writers: int = 0, freers: int = 0,
        pageouts: int = 0, pokes: str | None = None, seconds: float = _S,
    ) -> Hammered:  # fmt: skip
        """Do the same to an area's pages, and swap them out meanwhile; the area is of no other use afterwards."""
        return self._call(
            Hammered, "hammer", name=name, zram=zram, duration_s=duration_s, readers=readers, writers=writers,
            freers=freers, pageouts=pageouts, pokes=pokes, seconds=duration_s + seconds,
        )  # fmt: skip


class SessionCommands(AreaCommands):
    """All commands: those of areas, and those that start something which runs until it is stopped."""

    def load_start(
        self, kind: str, *, threads: int, limit_s: int, file: str | None = None, size: int | None = None,
        most_bytes: int | None = None, rate: int | None = None,
    ) -> replies.Done:  # fmt: skip
        """Start a load that ends after ``limit_s`` or ``most_bytes``; each thread keeps to ``rate`` bytes a second."""
        return self._call(
            replies.Done, "load-start", kind=kind, threads=threads, limit_s=limit_s, file=file, size=size,
            bytes=most_bytes, rate=rate,
        )  # fmt: skip

    def load_stop(self) -> replies.LoadStopped:
        """Stop the load."""
        return self._call(replies.LoadStopped, "load-stop")

    def apps_make(
        self, count: int, *, anonymous: int, file_backed: int, working_set: int, mix: str, seed: int, order: str,
        folder: str, compact_ms: int | None = None, seconds: float = _S,
    ) -> AppsMade:  # fmt: skip
        """Say what the apps are like and make the file that they share; none is started."""
        return self._call(
            AppsMade, "apps-make", count=count, anonymous=anonymous, file_backed=file_backed,
            working_set=working_set, mix=mix, seed=seed, order=order, folder=folder, compact_ms=compact_ms,
            seconds=seconds,
        )  # fmt: skip

    def apps_switch(
        self, sequence: Sequence[int], *, dwell_ms: int, backing: str | None = None, seconds: float = _S
    ) -> AppsSwitched:
        """Bring these apps to the front, one after the other."""
        apps = ",".join(map(str, sequence))
        return self._call(
            AppsSwitched, "apps-switch", sequence=apps, dwell_ms=dwell_ms, backing=backing, seconds=seconds
        )

    def apps_end(self, *, seconds: float = _S) -> AppsEnded:
        """Kill all apps."""
        return self._call(AppsEnded, "apps-end", seconds=seconds)

    def sample_start(
        self, *, zram: int, interval_ms: int, duration_s: int, disk: str | None = None, backing: str | None = None
    ) -> replies.SamplerStarted:
        """Look at memory every ``interval_ms`` until ``sample_stop``."""
        return self._call(
            replies.SamplerStarted, "sample-start", zram=zram, interval_ms=interval_ms, duration_s=duration_s,
            disk=disk, backing=backing,
        )  # fmt: skip

    def sample_stop(self, out: str, *, seconds: float = _S) -> replies.SamplerStopped:
        """End the sampler; ``out`` is the file for its samples."""
        return self._call(replies.SamplerStopped, "sample-stop", out=out, seconds=seconds)

    def daemon_start(
        self, *, zram: int, trigger: str, limit_4k: int, total_4k: int | None = None, age_s: int | None = None,
        delay_ms: int | None = None, period_ms: int | None = None,
    ) -> replies.DaemonStarted:  # fmt: skip
        """Have zram write back while apps are used."""
        return self._call(
            replies.DaemonStarted, "daemon-start", zram=zram, trigger=trigger, limit_4k=limit_4k, total_4k=total_4k,
            age_s=age_s, delay_ms=delay_ms, period_ms=period_ms,
        )  # fmt: skip

    def daemon_stop(self, out: str, *, seconds: float = _S) -> replies.DaemonStopped:
        """Wait for a writeback that runs and end the daemon; ``out`` is the file for its writebacks."""
        return self._call(replies.DaemonStopped, "daemon-stop", out=out, seconds=seconds)

    def daemon_front(self, pid: int) -> replies.Done:
        """Tell the daemon which process came to the front."""
        return self._call(replies.Done, "daemon-front", pid=pid)

    def daemon_pause(self) -> replies.Done:
        """Tell the daemon that the user pauses."""
        return self._call(replies.Done, "daemon-pause")
