"""zram's module exchanged for another build in one boot, with the phone's own zram devices made again as they were.

The way there is the way back with another file: the phone's swap is switched off, its devices are reset, the module is
unloaded and the other loaded, and each device is set up again. So what is in the journal before is tried by each
exchange.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from base.deadline import Deadline
from base.errors import DeviceError, EnvironmentRefused
from devices.device import Changes, Device
from devices.in_use import check_takeover
from devices.journal import Expect, Undo
from devices.kernel_module import KernelModule
from devices.probe.session import PROBE_FOLDER
from devices.transport import CommandResult, Exec, Op, Read, Write
from devices.zram import Zram, is_ours, state_to_go_back_to, takeover_undo, zram_numbers

MODULE = "/sys/module/zram"
BUILD_ID = ("xxd", "-p", f"{MODULE}/notes/.note.gnu.build-id")
_FILE = f"{PROBE_FOLDER}/zram.ko"
_WHAT = "zram's own module and its devices"
_SIG_ENFORCE, _NO_MORE = "/sys/module/module/parameters/sig_enforce", "/proc/sys/kernel/modules_disabled"
# Where Android and Linux keep modules.
_FOLDERS = (
    "/vendor/lib/modules", "/vendor_dlkm/lib/modules", "/system_dlkm/lib/modules", "/system/lib/modules", "/lib/modules"
)  # fmt: skip
# Of an ELF note in hexadecimal digits: two sizes, a type, and the name GNU.
_NOTE_HEAD = 32
_SWAP_S = 180.0


def module_build_id(answer: CommandResult) -> str:
    """The build id in what ``BUILD_ID`` printed; empty where zram is built in, or has none."""
    return "".join(answer.stdout.split())[_NOTE_HEAD:] if answer.ok else ""


def swap_zram_module(changes: Changes, ko: Path) -> KernelModule:
    """Load ``ko`` in place of zram's module; the phone's own module and devices are back at the end of the scope.

    Devices that the run has taken over or added are there again and empty: configure them anew. Nothing is changed when
    it is refused: EnvironmentRefused
    where zram is built in, a device holds what cannot be put aside, the phone's own module is not found, or ``ko`` is
    for another kernel. Raises DeviceError when another module is loaded afterwards than was asked for.
    """
    device, module = changes.device, KernelModule.read(ko)
    running = device.identity.kernel_release
    if module.release != running:
        raise EnvironmentRefused(
            f"{device.serial} runs Linux {running}, {ko} is built for {module.release}",
            hint="a module fits one build of a kernel: build it for this one",
        )
    if module.name != "zram":
        raise EnvironmentRefused(f"{ko} is the module {module.name}, not zram")
    way_back = _noted(device)
    if way_back is None:
        way_back = _way_back(device)
        changes.will_undo(way_back)
    device.transport.push(ko, _FILE, deadline=Deadline.after(60))
    _exchange(device, way_back)
    loaded = module_build_id(device.execute(Exec(BUILD_ID))[0])
    if loaded != module.build_id:
        raise DeviceError(
            f"{device.serial}: the zram that is loaded now has build id {loaded or 'none'}, {ko} has {module.build_id}"
        )
    return module


def check_exchangeable(device: Device) -> None:
    """Raises EnvironmentRefused where zram's module cannot be exchanged, whatever for."""
    _exchangeable(device)


def _noted(device: Device) -> Undo | None:
    return next((entry.undo for entry in device.journal.entries if entry.undo.what == _WHAT), None)


def _way_back(device: Device) -> Undo:
    """Raises EnvironmentRefused when the module cannot be exchanged; nothing is changed for it."""
    loaded = _exchangeable(device)
    numbers = zram_numbers(device)
    before = []
    for number in numbers:
        if is_ours(device, number):
            continue  # its own way back is in the journal, and is done after this one
        check_takeover(device, number)
        zram = Zram(device, number)
        zram.check_swapoff()
        before.append(takeover_undo(zram, *state_to_go_back_to(zram)))
    own = _own_file(device, module_build_id(loaded))
    steps: list[Op] = [*_unloaded(numbers), *_loaded(own, numbers), Exec(("rm", "-f", _FILE)), *map(_awaited, numbers)]
    steps += [step for undo in before for step in undo.steps]
    is_back = Expect(argv=BUILD_ID, value=loaded.text.strip())
    return Undo(_WHAT, tuple(steps), (is_back, *(expect for undo in before for expect in undo.expect)))


def _exchangeable(device: Device) -> CommandResult:
    state, build_id, enforced, no_more, holders = device.execute(
        Read(f"{MODULE}/initstate"), Exec(BUILD_ID), Read(_SIG_ENFORCE), Read(_NO_MORE),
        Exec(("ls", f"{MODULE}/holders")), keep_going=True,
    )  # fmt: skip
    reason = ""
    if not state.ok:
        reason = "zram is built into its kernel"
    elif no_more.ok and no_more.text.strip() == "1":
        reason = "its kernel loads no more modules (kernel.modules_disabled)"
    elif enforced.ok and enforced.text.strip() == "Y":
        reason = "its kernel loads only modules that its maker has signed (module.sig_enforce)"
    elif holders.ok and holders.text.split():
        reason = f"other modules need zram: {', '.join(holders.text.split())}"
    elif not module_build_id(build_id):
        reason = "its zram has no build id to know it by"
    if reason:
        raise EnvironmentRefused(
            f"{device.serial}: zram's module cannot be exchanged: {reason}",
            hint="measure on the virtual phone, or flash a kernel that has zram as a module",
        )
    return build_id


def _own_file(device: Device, build_id: str) -> str:
    """The file on the phone that the loaded module came from. Raises EnvironmentRefused when none is it."""
    argv = ("find", *_FOLDERS, "-name", "zram.ko")
    found = device.execute(Exec(argv, accept=(0, 1)))[0].stdout.split()
    with TemporaryDirectory(prefix="zram-lab-") as folder:
        copy = Path(folder) / "zram.ko"
        for path in found:
            device.transport.pull(path, copy, deadline=Deadline.after(60))
            if bytes.fromhex(build_id) in copy.read_bytes():
                return path
    raise EnvironmentRefused(
        f"{device.serial}: the file of the zram that is loaded (build id {build_id}) is not on the phone"
        + (f"; others are: {', '.join(found)}" if found else ""),
        hint="reboot the phone, which loads its own zram again",
    )


def _unloaded(numbers: Sequence[int]) -> list[Op]:
    ops: list[Op] = []
    for number in numbers:
        ops += [Exec(("swapoff", f"/dev/block/zram{number}")), Write(f"/sys/block/zram{number}/reset", "1")]
    return [*ops, Exec(("rmmod", "zram"))]


def _loaded(file: str, numbers: Sequence[int]) -> list[Op]:
    """Load it with the same devices: it makes those from 0 on, and what is too many is removed."""
    count = max(numbers, default=-1) + 1
    removed = [n for n in range(count) if n not in numbers]
    return [
        Exec(("insmod", file, f"num_devices={count}")),
        *(Write("/sys/class/zram-control/hot_remove", str(number)) for number in removed),
    ]


def _awaited(number: int) -> Op:
    """Android makes the node of a device a moment after the device is there."""
    node = f"/dev/block/zram{number}"
    return Exec(("sh", "-c", f"n=0; while [ ! -b {node} ] && [ $n -lt 50 ]; do sleep 0.1; n=$((n + 1)); done"))


def _exchange(device: Device, way_back: Undo) -> None:
    """The steps of the way back with the other file, for the devices that there are now as well."""
    numbers = zram_numbers(device)
    for number in numbers:
        Zram(device, number).check_swapoff()
    device.execute(*_unloaded(numbers)[:-1], keep_going=True, seconds=_SWAP_S)
    for result in device.execute(Exec(("rmmod", "zram")), *_loaded(_FILE, numbers), seconds=_SWAP_S):
        result.check()
    again = [step for step in way_back.steps if _is_of_a_device(step)]
    device.execute(*again, keep_going=True, seconds=_SWAP_S)
    reads = device.execute(*(expect.op for expect in way_back.expect[1:]), keep_going=True)
    failures = [text for expect, read in zip(way_back.expect[1:], reads, strict=True) if (text := expect.failure(read))]
    if failures:
        raise DeviceError(
            f"{device.serial}: zram's devices cannot be set up with another module: {'; '.join(failures)}"
        )


def _is_of_a_device(step: Op) -> bool:
    match step:
        case Exec((program, *_)):
            return program not in ("rmmod", "insmod")
        case Write(path, _):
            return not path.endswith("/hot_remove")
    return True
