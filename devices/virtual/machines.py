"""The machines that the virtual phone can be: a row of ``MACHINES`` each, and a new row is all that a new one takes."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from base.errors import EnvironmentRefused, ProfileError
from base.units import KIB


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor as this project's options, Debian, QEMU and Android call it."""

    name: str
    debian: str
    uname: str
    triplet: str
    loader: str
    loader_folder: str
    qemu_package: str
    qemu: str
    board: str
    machine: tuple[str, ...]
    console: str
    emulated: tuple[str, ...]
    """what the kernel is told where the CPU is emulated"""
    abi: str

    @property
    def libraries(self) -> str:
        """Where Debian has its shared libraries, inside a root."""
        return f"usr/lib/{self.triplet}"

    @property
    def is_the_hosts(self) -> bool:
        return platform.machine() == self.uname


# Its timer runs at a fixed rate (1 GHz), so there is nothing that a busy host could make the kernel measure wrongly.
ARM64 = Processor(
    name="arm64",
    debian="arm64",
    uname="aarch64",
    triplet="aarch64-linux-gnu",
    loader="ld-linux-aarch64.so.1",
    loader_folder="lib",
    qemu_package="qemu-system-arm",
    qemu="usr/bin/qemu-system-aarch64",
    board="virt",
    # The architected algorithm for pointer authentication is slow to emulate.
    machine=("-machine", "virt,gic-version=3", "-cpu", "max,pauth-impdef=on"),
    console="ttyAMA0",
    emulated=(),
    abi="arm64-v8a",
)
# An emulated CPU on a busy host misses the deadlines of the kernel's clock watchdog, which then distrusts the TSC and
# patches its own code while all CPUs run; TCG with a thread per CPU is not safe against that ("Oops: int3"). It also
# fails the check of the interrupt controller's timer ("IO-APIC + timer doesn't work!").
X86_64 = Processor(
    name="x86_64",
    debian="amd64",
    uname="x86_64",
    triplet="x86_64-linux-gnu",
    loader="ld-linux-x86-64.so.2",
    loader_folder="lib64",
    qemu_package="qemu-system-x86",
    qemu="usr/bin/qemu-system-x86_64",
    board="q35",
    machine=("-machine", "q35", "-cpu", "max"),
    console="ttyS0",
    emulated=("tsc=reliable", "no_timer_check"),
    abi="x86_64",
)
PROCESSORS = (ARM64, X86_64)


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine. ``suite`` is the part of Debian's archive that has the kernel, ``like`` what it stands for."""

    processor: Processor
    page_size: int
    kernel: str
    suite: str
    like: str

    @property
    def name(self) -> str:
        """``arm64-16k-7.3``: names what is in the cache."""
        return f"{self.processor.name}-{self.page_size // KIB}k-{self.kernel}"

    @property
    def cannot_show(self) -> str:
        """What no run on this machine says anything about, beside what holds for every virtual phone."""
        of = (self.kernel, self.page_size, self.processor.name)
        return "; ".join(words for key, words in _CANNOT_SHOW if key in of) or "nothing of its own"

    @property
    def flavour(self) -> str:
        """What Debian's names of this kernel end with."""
        return self.processor.debian + ("-16k" if self.page_size == 16 * KIB else "")

    def __str__(self) -> str:
        return f"{self.processor.name} with pages of {self.page_size // KIB} KiB and kernel {self.kernel}"


_CANNOT_SHOW: tuple[tuple[str | int, str], ...] = (
    ("6.12", "batches"),
    ("6.18", "batches"),
    ("6.1", "batches"),
    ("5.10", "batches; faults on chosen pages, integrity through swap (no `page_index`)"),
    (16 * KIB, "F2FS"),
    ("x86_64", "a phone's processor"),
)
_4K, _16K = 4 * KIB, 16 * KIB
# The first is the default. Kernels of main stay on the mirrors; those of backports but the newest can go any day.
MACHINES = (
    Machine(
        ARM64, _4K, "7.3", "trixie-backports", "the phones of today with the kernel of tomorrow: batched writeback"
    ),
    Machine(ARM64, _16K, "7.3", "trixie-backports", "phones with pages of 16 KiB"),
    Machine(X86_64, _4K, "7.3", "trixie-backports", "a PC's processor: quick where KVM works"),
    Machine(ARM64, _4K, "6.12", "trixie", "android16-6.12: one page at a time"),
    Machine(ARM64, _16K, "6.12", "trixie", "android16-6.12 with pages of 16 KiB"),
    Machine(ARM64, _4K, "6.18", "trixie-backports", "the last kernel without batching, with `page_indexes`"),
    Machine(ARM64, _16K, "6.18", "trixie-backports", "the last kernel without batching, with pages of 16 KiB"),
    Machine(ARM64, _4K, "6.1", "bookworm", "phones in use: android14-6.1"),
    Machine(ARM64, _4K, "5.10", "bullseye", "phones in use: android12-5.10 and android13-5.10"),
    Machine(X86_64, _4K, "6.12", "trixie", "a PC's processor"),
    Machine(X86_64, _4K, "6.18", "trixie-backports", "a PC's processor"),
    Machine(X86_64, _4K, "6.1", "bookworm", "a PC's processor"),
    Machine(X86_64, _4K, "5.10", "bullseye", "a PC's processor"),
)
DEFAULT = MACHINES[0]

KERNELS = tuple(dict.fromkeys(machine.kernel for machine in MACHINES))
ARCHS = (*(processor.name for processor in PROCESSORS), "auto")
PAGE_SIZES = {f"{size // KIB}k": size for size in sorted({machine.page_size for machine in MACHINES})}


def find(kernel: str, arch: str, page_size: int) -> Machine:
    """The machine of these three; ``auto`` is the first that has the rest. ProfileError names those that there are."""
    fitting = [machine for machine in MACHINES if (machine.kernel, machine.page_size) == (kernel, page_size)]
    if found := next((machine for machine in fitting if arch in (machine.processor.name, "auto")), None):
        return found
    near = [m for m in MACHINES if m.processor.name == arch] if arch != "auto" else list(MACHINES)
    there = "; ".join(
        f"{processor.name} {name}: {', '.join(kernels)}"
        for processor in PROCESSORS
        for name, size in PAGE_SIZES.items()
        if (kernels := [m.kernel for m in near if (m.processor, m.page_size) == (processor, size)])
    )
    raise ProfileError(
        f"no virtual phone is {arch} with pages of {page_size // KIB} KiB and kernel {kernel}",
        hint=f"There are {there or 'none of that processor'}.",
    )


def of_host() -> Processor:
    """The processor that programs out of Debian's packages are fetched for, QEMU's among them."""
    for processor in PROCESSORS:
        if processor.is_the_hosts:
            return processor
    raise EnvironmentRefused(
        f"the virtual phone needs a host that is {' or '.join(p.uname for p in PROCESSORS)}, "
        f"this one is {platform.machine()}",
        hint="Attach a phone instead and name it: --device SERIAL.",
    )
