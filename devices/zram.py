"""A zram device: configured in the only order that the kernel takes, read back, and given back as it was.

::

    ZramError
    ├── ZramBusy               EBUSY: the attribute is frozen, or somebody has the device open
    ├── WritebackLimitReached  EIO with the limit at 0
    ├── WritebackIoError       EIO with budget left: the storage failed
    ├── BackingDeviceFull      ENOSPC
    ├── ValueKept              success, and another value is read back
    └── InvalidValue           EINVAL, ERANGE
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from base.deadline import Deadline, wait_until
from base.errors import CommandFailed, DeviceError, UnreadableAnswer
from base.kernel import DEFAULT_BATCH_SIZE, MAX_BATCH_SIZE
from base.parsing import number_or_none, whole_number
from devices.counters import BdStat, MmStat
from devices.device import Changes, Device
from devices.in_use import check_takeover
from devices.journal import Expect, ExpectRule, Undo
from devices.swaps import check_room, swap_priority, swaps_that_fit
from devices.transport import CommandResult, Exec, Op, Read, Write

# The kernel keeps these over a reset, so each is set on every configuration.
_SURVIVE_RESET = (
    "writeback_limit_enable", "writeback_limit", "writeback_batch_size", "compressed_writeback", "writeback_compressed"
)  # fmt: skip
_OPTIONAL = ("comp_algorithm", "mem_limit", *_SURVIVE_RESET)


class ZramError(DeviceError):
    """The zram driver refused."""


class ZramBusy(ZramError):
    """EBUSY: frozen until reset, or the device is open somewhere."""


class WritebackLimitReached(ZramError):
    """EIO with the writeback limit at 0: the budget is spent."""


class WritebackIoError(ZramError):
    """EIO with budget left: a write to the backing device failed."""


class BackingDeviceFull(ZramError):
    """ENOSPC: no free block on the backing device."""


class ValueKept(ZramError):
    """The driver took a value without a word and kept the old one."""


class InvalidValue(ZramError):
    """EINVAL or ERANGE: the driver does not take this value."""


# What bionic, glibc and musl print for the errno values that zram uses.
_ERRNO_TEXTS = {
    "EBUSY": ("Device or resource busy", "Resource busy"),
    "EINVAL": ("Invalid argument",),
    "ERANGE": ("Math result not representable", "Numerical result out of range", "Result not representable"),
    "EIO": ("I/O error", "Input/output error"),
    "ENOSPC": ("No space left on device",),
    "ENODEV": ("No such device",),
    "ENOENT": ("No such file or directory",),
    "EACCES": ("Permission denied",),
    "EAGAIN": ("Try again", "Resource temporarily unavailable"),
    "ENOMEM": ("Out of memory", "Cannot allocate memory"),
    "ENOTBLK": ("Block device required",),
    "EPERM": ("Operation not permitted",),
}


def errno_of(stderr: str) -> str:
    """The errno's name in a program's error text, or ""."""
    return next((name for name, texts in _ERRNO_TEXTS.items() if any(text in stderr for text in texts)), "")


def zram_error(what: str, errno: str, *, limit_left_4k: int | None = None, detail: str = "") -> ZramError:
    """Return the error that an errno of a zram attribute means.

    EIO means two things: the limit is spent, or the storage failed. Only ``limit_left_4k`` tells them apart.
    """
    text = f"{what}: {errno or detail or 'refused'}"
    match errno:
        case "EBUSY":
            return ZramBusy(f"{text}: frozen until reset, or open elsewhere", hint="swapoff or umount it first")
        case "EIO" if limit_left_4k == 0:
            return WritebackLimitReached(f"{text}: the writeback limit is spent")
        case "EIO":
            return WritebackIoError(f"{text}: the backing device failed", hint="see kernel.log; SELinux may deny it")
        case "ENOSPC":
            return BackingDeviceFull(f"{text}: no free block on the backing device", hint="raise backing.size")
        case "EINVAL" | "ERANGE":
            return InvalidValue(f"{text}: the driver does not take this value")
        case _:
            return ZramError(text)


@dataclass(frozen=True, slots=True)
class ZramConfig:
    """A state of a zram device. ``backing_dev`` None means without; ``comp_algorithm`` None the kernel's default."""

    disksize_bytes: int
    comp_algorithm: str | None = None
    backing_dev: str | None = None
    writeback_batch_size: int = DEFAULT_BATCH_SIZE
    compressed_writeback: bool = False


def selected(text: str) -> str:
    """The word in [brackets] of an attribute that lists its choices."""
    found = re.search(r"\[([^\]]+)\]", text)
    return found[1] if found else text.strip()


def offered(text: str) -> list[str]:
    """The words of an attribute that lists its choices."""
    return text.replace("[", "").replace("]", "").split()


class Zram:
    """One zram device of a phone."""

    def __init__(self, device: Device, number: int) -> None:
        self.device, self.number = device, number
        self._attributes: frozenset[str] | None = None
        self._is_our_swap = False
        self.dir = f"/sys/block/zram{number}"
        self.node = f"/dev/block/zram{number}"

    def attribute(self, name: str) -> str:
        return f"{self.dir}/{name}"

    def read(self, name: str) -> str:
        return self.device.read(self.attribute(name))

    def read_many(self, *names: str) -> dict[str, str | None]:
        values = self.device.read_many([self.attribute(name) for name in names])
        return {name: values[self.attribute(name)] for name in names}

    def write(self, name: str, value: str) -> None:
        """Write an attribute. Raises the ZramError that the kernel's errno means.

        A batch size above 4096 is refused here: the kernel allocates as many requests, and has panicked of it.
        """
        if name == "writeback_batch_size" and (number_or_none(value) or 0) > MAX_BATCH_SIZE:
            raise ZramError(f"{self.attribute(name)}: {value} is never written: it can panic the phone")
        result = self.device.execute(Write(self.attribute(name), value))[0]
        if not result.ok:
            limit = self.read("writeback_limit") if errno_of(result.stderr) == "EIO" else ""
            raise zram_error(
                str(result.op), errno_of(result.stderr), detail=result.stderr.strip(),
                limit_left_4k=number_or_none(limit),
            )  # fmt: skip

    def bd_stat(self) -> BdStat:
        return BdStat.parse(self.read("bd_stat"))

    def reset(self) -> None:
        """swapoff and reset; a race with whoever still has the node open (udev, blkid) is waited for, bounded."""
        if name := self.check_swapoff():
            self.device.execute(Exec(("swapoff", name)), seconds=120)[0].check()
        last: list[CommandResult] = []

        def done() -> bool:
            last[:] = self.device.execute(Write(self.attribute("reset"), "1"))
            return last[0].ok

        try:
            wait_until(f"reset of {self.node}", done, Deadline.after(5))
        except DeviceError as error:
            raise zram_error(
                f"reset of {self.node}", errno_of(last[0].stderr if last else ""), detail=str(error)
            ) from error

    def compressed_writeback(self) -> str | None:
        """Name of the attribute that has pages written back as they are stored: two are in use. None without it."""
        present = self._present()
        return next((name for name in ("compressed_writeback", "writeback_compressed") if name in present), None)

    def configure(self, config: ZramConfig, *, swap_priority: int | None = None) -> dict[str, str]:
        """Reset, then everything in the kernel's order, in one trip; returns what was read back.

        With ``swap_priority`` it is swap then. Raises ZramError when the driver refuses or says afterwards that it is
        set otherwise.
        """
        wanted = self._settings(config)
        # One program that reads all of them: each has one line.
        read_back = Exec(("cat", *(self.attribute(name) for name in wanted)))
        ops: list[Op] = [*(Write(self.attribute(name), value) for name, value in wanted.items()), read_back]
        if swap_priority is not None:
            ops += [Exec(("mkswap", self.node)), Exec(("swapon", "-p", str(swap_priority), self.node))]
        results = self._after_reset(ops)
        self._is_our_swap = swap_priority is not None
        for result in results:
            if not result.ok:
                raise zram_error(str(result.op), errno_of(result.stderr), detail=result.stderr.strip())
        lines = results[len(wanted)].text.splitlines()
        if len(lines) != len(wanted):
            raise UnreadableAnswer(f"{read_back}: {len(lines)} lines instead of {len(wanted)}")
        seen = dict(zip(wanted, lines, strict=True))
        for name, value in wanted.items():
            # The kernel rounds a disksize up to whole pages.
            if name != "disksize" and selected(seen[name]) != value:
                raise ValueKept(f"{self.attribute(name)} reads {seen[name]!r}, {value!r} was written")
        return seen

    def _after_reset(self, ops: Sequence[Op]) -> list[CommandResult]:
        """Reset and ``ops`` in one trip where nothing is in the way, else in the careful way of ``reset``."""
        # What a run made swap holds pages of the probe only, and these are gone by then.
        off = [Exec(("swapoff", self.node), accept=(0, 1, 255))] if self._is_our_swap else []
        results = self.device.execute(*off, Write(self.attribute("reset"), "1"), *ops, seconds=120)
        if results[len(off)].ok:
            return results[len(off) + 1 :]
        self.reset()
        return self.device.execute(*ops)

    def _settings(self, config: ZramConfig) -> dict[str, str]:
        """Return attributes and values with disksize last: setting it freezes the backing device."""
        present, compressed = self._present(), self.compressed_writeback()
        if config.compressed_writeback and compressed is None:
            raise ZramError(f"{self.dir}: this kernel cannot write pages back compressed")
        settings = {
            "writeback_limit_enable": "0",
            "writeback_limit": "0",
            "writeback_batch_size": str(config.writeback_batch_size),
        }
        settings = {name: value for name, value in settings.items() if name in present}
        if compressed:
            settings[compressed] = str(int(config.compressed_writeback))
        if config.comp_algorithm:
            settings["comp_algorithm"] = config.comp_algorithm
        if config.backing_dev:
            settings["backing_dev"] = config.backing_dev
        return {**settings, "disksize": str(config.disksize_bytes)}

    def _present(self) -> frozenset[str]:
        """Those of the attributes that survive a reset which this kernel has; asked for once."""
        if self._attributes is None:
            values = self.read_many(*_SURVIVE_RESET)
            self._attributes = frozenset(name for name, value in values.items() if value is not None)
        return self._attributes

    def let_go(self) -> Undo:
        """Its backing device is free again, to be recorded after the undo that detaches it: the newest is done first.

        Nothing is expected of it. Whether it worked shows when the backing device is detached, and an undo that is
        tried again later must not reset a zram that was put back meanwhile.
        """
        steps = (Exec(("swapoff", self.node)), Write(self.attribute("reset"), "1"))
        return Undo(f"{self.node} off its backing device", steps)

    def check_swapoff(self) -> str | None:
        """Its node if it is swap now, else None; EnvironmentRefused when its pages do not fit in memory."""
        mine = next(((swap, left) for swap, left in swaps_that_fit(self.device) if swap.is_device(self.node)), None)
        if mine is None:
            return None
        check_room(self.device, *mine)
        return self.node


def take_over(changes: Changes, number: int = 0) -> Zram:
    """Take over a zram device of the phone; the way back to its present state is written down first.

    Raises EnvironmentRefused when there is no such device, or when its state could not be made again: a backing device
    would vanish with a reset.
    """
    device = changes.device
    check_takeover(device, number)
    zram = Zram(device, number)
    before, priority = state_to_go_back_to(zram)
    zram.check_swapoff()
    changes.will_undo(takeover_undo(zram, before, priority))
    return zram


def state_to_go_back_to(zram: Zram) -> tuple[dict[str, str], int | None]:
    """Its attributes, and its priority as swap. It cannot be made again if it was read wrong, so it is read twice.

    Raises UnreadableAnswer when something is missing or the two differ.
    """
    names = ("disksize", *_OPTIONAL)
    reads = [
        Read("/proc/swaps"), Read(zram.attribute("mm_stat")), Read(zram.attribute("backing_dev")),
        *(Read(zram.attribute(n)) for n in names),
    ]  # fmt: skip
    results = zram.device.execute(*reads, *reads, keep_going=True)
    first, second = (_state(zram, names, half) for half in (results[: len(reads)], results[len(reads) :]))
    if first != second:
        raise UnreadableAnswer(
            f"{zram.device.serial}: {zram.node} reads {first}, then {second}",
            hint="nothing was changed; does something else on the phone change it? try again",
        )
    if not {"disksize", "comp_algorithm"} <= first[0].keys():
        raise UnreadableAnswer(f"{zram.device.serial}: {zram.dir}: disksize or comp_algorithm cannot be read")
    return first


def _state(zram: Zram, names: Sequence[str], results: Sequence[CommandResult]) -> tuple[dict[str, str], int | None]:
    swaps, mm_stat, backing, *values = results
    before = {name: value.text.strip() for name, value in zip(names, values, strict=True) if value.ok}
    if backing.ok:
        before["backing_dev"] = "none"
    before["mem_limit"] = str(MmStat.parse(mm_stat.text).mem_limit) if mm_stat.ok else "0"
    return before, swap_priority(swaps.stdout, zram.node)


def takeover_undo(zram: Zram, before: Mapping[str, str], priority: int | None) -> Undo:
    """The way back to what ``state_to_go_back_to`` has read, from whatever state the device is in."""
    steps: list[Op] = [Exec(("swapoff", zram.node)), Write(zram.attribute("reset"), "1")]
    expect = [Expect(zram.attribute("disksize"), before["disksize"])]
    for name in _SURVIVE_RESET:
        if name in before:
            steps.append(Write(zram.attribute(name), before[name]))
            expect.append(Expect(zram.attribute(name), before[name]))
    algorithm = selected(before["comp_algorithm"])
    steps.append(Write(zram.attribute("comp_algorithm"), algorithm))
    expect.append(Expect(zram.attribute("comp_algorithm"), algorithm, ExpectRule.selected))
    if "backing_dev" in before:
        expect.append(Expect(zram.attribute("backing_dev"), "none"))
    if before["disksize"] != "0":
        steps += [Write(zram.attribute("disksize"), before["disksize"])]
        steps += [Write(zram.attribute("mem_limit"), before["mem_limit"])]
    name = f"/zram{zram.number} "
    if priority is None:
        expect.append(Expect("/proc/swaps", name, ExpectRule.lacks))
    else:
        # A negative priority is the kernel's own choice and cannot be asked for.
        wish = ("-p", str(priority)) if priority >= 0 else ()
        steps += [Exec(("mkswap", zram.node)), Exec(("swapon", *wish, zram.node))]
        expect.append(Expect("/proc/swaps", name, ExpectRule.contains))
    return Undo(_as_it_was(zram), tuple(steps), tuple(expect))


def _as_it_was(zram: Zram) -> str:
    return f"{zram.node} as it was"


def _removed(zram: Zram) -> str:
    return f"{zram.node} removed"


def is_ours(device: Device, number: int) -> bool:
    """Say whether a run has taken over or added this zram device: the journal has its way back."""
    zram = Zram(device, number)
    return any(entry.undo.what in (_as_it_was(zram), _removed(zram)) for entry in device.journal.entries)


def hot_add(changes: Changes, known: Sequence[int]) -> Zram:
    """A new zram device. The kernel gives the lowest free number, so the way back can be written down first."""
    number = next(n for n in range(len(known) + 1) if n not in known)
    zram = Zram(changes.device, number)
    steps = (
        Exec(("swapoff", zram.node)),
        Write(zram.attribute("reset"), "1"),
        Write("/sys/class/zram-control/hot_remove", str(number)),
    )
    changes.will_undo(Undo(_removed(zram), steps, (Expect(zram.attribute("disksize"), match=ExpectRule.missing),)))
    added = whole_number(changes.device.read("/sys/class/zram-control/hot_add"), "zram-control/hot_add")
    if added != number:
        changes.device.execute(Write("/sys/class/zram-control/hot_remove", str(added)))
        raise CommandFailed("hot_add", 1, f"the kernel added zram{added}, zram{number} was expected: another run?")
    return zram


def zram_numbers(device: Device) -> list[int]:
    """The zram devices that exist now."""
    return [int(n) for n in re.findall(r"\bzram([0-9]{1,4})\b", device.run("ls", "/sys/block"))]
