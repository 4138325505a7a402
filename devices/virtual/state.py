"""What is kept of a virtual phone between starts: its disks, its port, and which process runs it."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from base.errors import EnvironmentRefused, ProfileError
from base.files import replace_file
from base.paths import state_dir

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
_LOCK_S = 20.0
# The disks are sparse, but a phone whose disk cannot be written is stopped in the middle of its work.
_LEAST_ROOM_BYTES = 512 << 20

# Two more logical units beside /data's, for backing devices without a file system and on another one.
EXTRA_UNIT_BYTES = 1 << 30
UNITS = ("ufs.img", "ufs-lun1.img", "ufs-lun2.img")


@dataclass(frozen=True, slots=True)
class QemuRecord:
    """A QEMU that was started. ``pid_start`` tells it from a later process with the same pid."""

    pid: int
    pid_start: int
    port: int
    arch: str
    page_size: int
    kernel: str
    kernel_release: str
    accelerator: str
    memory_bytes: int
    cpus: int
    detached: bool
    boot_s: float = 0.0

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        return process_start(self.pid) == self.pid_start


@dataclass(frozen=True, slots=True)
class PhoneState:
    """The folder of one phone."""

    name: str
    folder: Path

    @property
    def console_log(self) -> Path:
        return self.folder / "console.log"

    @property
    def qemu_log(self) -> Path:
        return self.folder / "qemu.log"

    @property
    def qmp_socket(self) -> Path:
        return self.folder / "qmp.sock"

    @contextmanager
    def locked(self, *, wait_s: float = _LOCK_S) -> Iterator[None]:
        """Nobody else starts or stops this phone meanwhile."""
        lock = FileLock(self.folder / "lock")
        try:
            lock.acquire(timeout=wait_s)
        except Timeout as error:
            raise EnvironmentRefused(
                f"virtual phone {self.name}: another process is starting or stopping it",
                hint="Wait for it, or use another phone: --name.",
            ) from error
        try:
            yield
        finally:
            lock.release()

    def run(self) -> QemuRecord | None:
        """The QEMU that runs this phone now, if any."""
        recorded = self.last_run()
        return recorded if recorded and recorded.alive else None

    def last_run(self) -> QemuRecord | None:
        try:
            return QemuRecord(**json.loads((self.folder / "meta.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def record(self, run: QemuRecord) -> None:
        replace_file(self.folder / "meta.json", json.dumps(asdict(run), indent=1) + "\n")

    def record_boot_time(self, run: QemuRecord, boot_s: float) -> QemuRecord:
        booted = replace(run, boot_s=boot_s)
        self.record(booted)
        return booted

    def disks(self, ufs_bytes: int, *, page_bytes: int, fresh: bool) -> bool:
        """Makes the disks if there are none (or ``fresh``); True if they have yet to be formatted.

        Raises EnvironmentRefused when the disk that is there has another size, or was formatted by a kernel with other
        pages than ``page_bytes``, or the host's disk is full.
        """
        free = shutil.disk_usage(self.folder).free
        if free < _LEAST_ROOM_BYTES:
            raise EnvironmentRefused(
                f"{self.folder}: {free >> 20} MiB are free for the virtual phone's disks, "
                f"at least {_LEAST_ROOM_BYTES >> 20} MiB are needed",
                hint="Free some room, or put its state elsewhere with $ZRAM_LAB_STATE.",
            )
        units = [self.folder / name for name in UNITS]
        whole = all(unit.exists() for unit in units)
        if whole and not fresh and (size := units[0].stat().st_size) != ufs_bytes:
            raise EnvironmentRefused(
                f"virtual phone {self.name}: its UFS disk has {size >> 20} MiB, asked for are {ufs_bytes >> 20} MiB",
                hint="--fresh makes a new one (what is on /data is lost); or give it another --name.",
            )
        if whole and not fresh and (formatted := self._pages_of_format()) not in (None, page_bytes):
            raise EnvironmentRefused(
                f"virtual phone {self.name}: its /data was formatted for pages of {formatted} bytes, and only a kernel "
                f"with those mounts its F2FS; asked for are {page_bytes}",
                hint="--fresh makes a new one (what is on /data is lost); or give it another --name.",
            )
        if fresh or not whole:
            self._formatted.unlink(missing_ok=True)
            for unit, size in zip(units, (ufs_bytes, EXTRA_UNIT_BYTES, EXTRA_UNIT_BYTES), strict=True):
                unit.unlink(missing_ok=True)
                with unit.open("wb") as file:
                    file.truncate(size)
        return not self._formatted.exists()

    def mark_formatted(self, page_bytes: int) -> None:
        replace_file(self._formatted, f"{page_bytes}\n")

    def _pages_of_format(self) -> int | None:
        """The page size of the kernel that formatted them, in bytes; None where they are not, or nobody noted it."""
        try:
            return int(self._formatted.read_text())
        except (OSError, ValueError):
            return None

    @property
    def _formatted(self) -> Path:
        """Only the host can tell a new disk from a broken one, and only a new one is ever formatted."""
        return self.folder / "formatted"

    def choose_port(self) -> int:
        """A free port of the loopback interface: the one of the last start if nobody else has taken it."""
        file = self.folder / "port"
        try:
            kept = int(file.read_text())
        except (OSError, ValueError):
            kept = 0
        for wanted in (kept, 0):
            if port := _free_port(wanted):
                replace_file(file, f"{port}\n")
                return port
        raise EnvironmentRefused("no free TCP port on 127.0.0.1", hint="See what holds them all: ss -tln.")


def phone_state(name: str) -> PhoneState:
    """The state of a phone by name; its folder is made."""
    if not _NAME.fullmatch(name):
        raise ProfileError(
            f"{name!r} cannot be a virtual phone's name", hint="Up to 40 letters, digits, '.', '_' or '-'; no path."
        )
    folder = state_dir() / "phones" / name
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # in it lie the disks and QEMU's control socket
    return PhoneState(name, folder)


def all_states() -> list[PhoneState]:
    folder = state_dir() / "phones"
    return [PhoneState(path.name, path) for path in sorted(folder.glob("*")) if path.is_dir()]


def process_start(pid: int) -> int | None:
    """When a living process started, in clock ticks since boot (proc(5), field 22); None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def _free_port(wanted: int) -> int | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return None
        port: int = probe.getsockname()[1]
        return port
