"""Sections of a profile that say what a phone is and where to stop, and the types of values. Sizes are bytes, durations
seconds. What is measured on it is in devices/profiles/what_is_measured.py."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from base.errors import ProfileError
from base.kernel import MAX_BATCH_SIZE
from base.units import GIB, KIB, MIB, TIB, shown
from devices.profiles.quantities import Bytes, DurationRange, Seconds, SizeRange
from devices.virtual.machines import ARCHS, DEFAULT, KERNELS, PAGE_SIZES, find

# The largest page size of a phone. A size that is a multiple of it reads back from the kernel as it was written.
_PAGE = 16 * KIB
# A writeback allocates a page per request: a huge batch size panics a phone, so nobody can ask for one.


class Root(StrEnum):
    """How root is had on the phone."""

    auto = "auto"
    adbd = "adbd"
    su_c = "su-c"
    su_0 = "su-0"


class SELinuxMode(StrEnum):
    """What SELinux does while measuring."""

    keep = "keep"
    permissive = "permissive"


class WriteBoosterMode(StrEnum):
    """What UFS's fast buffer in front of the flash does while measuring."""

    keep = "keep"
    off = "off"


class ZramDevice(StrEnum):
    """Which zram device is measured: the phone's own, or one added for the run."""

    takeover = "takeover"
    hot_add = "hot_add"


class BackingKind(StrEnum):
    """What zram writes back to: a file through a loop device, a file's own blocks without one, or a raw partition."""

    loop = "loop"
    mapped = "mapped"
    raw_partition = "partition"


class PageKind(StrEnum):
    """What the pages hold, which decides how zram stores them."""

    incompressible = "incompressible"
    mixed = "mixed"
    memory = "memory"
    system_files = "system_files"
    compressible = "compressible"
    synthetic_mixed = "synthetic_mixed"
    own = "own"

    @property
    def mix(self) -> str:
        """Return what the probe calls such pages (probe/README.md, Pages); ``Profile.mix_of`` does for ``own`` too."""
        return _MIXES[self]


_MIXES = {
    PageKind.incompressible: "i100",
    # Of a phone in use: same-filled, incompressible, the rest like memory, together 3.25 : 1 (docs/decisions.md).
    PageKind.mixed: "s11.1,i8.3,h80.6",
    PageKind.memory: "h100",
    PageKind.system_files: "f100",
    PageKind.compressible: "c100@3",
    # An assumption of before, kept for runs to be compared with theirs.
    PageKind.synthetic_mixed: "z5,s5,c60@3,i30",
}


class SlotOrder(StrEnum):
    """Which slots, and with them which blocks of the backing device, a measured writeback finds free."""

    sparse = "sparse"
    sequential = "sequential"
    scattered = "scattered"


def _ascending(values: tuple[int, ...]) -> tuple[int, ...]:
    if any(left >= right for left, right in pairwise(values)):
        raise ValueError("expected rising values without repeats")
    return values


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if repeated := [value for i, value in enumerate(values) if value in values[:i]]:
        raise ValueError(f"{repeated[0]} is given twice")
    return values


def _absolute(path: str) -> str:
    plain = re.fullmatch(r"/[A-Za-z0-9._/+-]{1,254}", path) and str(PurePosixPath(path)) == path
    if not plain or ".." in path.split("/"):
        raise ValueError(f"{shown(path)} is not a plain absolute path, for example /data/per_boot/zram_writeback")
    return path


def _server(address: str) -> str:
    host, _, port = address.rpartition(":")
    if not host or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ValueError(f"{shown(address)} is not an adb server; expected HOST:PORT, for example 127.0.0.1:5037")
    return address


def _power_of_two(size: int) -> int:
    if size & (size - 1):
        raise ValueError(f"{size} is not a power of two; expected 512, 1024, 2048, 4096 ... 65536")
    return size


@dataclass(frozen=True, slots=True)
class Spelled:
    """Validator: text that matches all of ``pattern``."""

    pattern: str
    expected: str

    def __call__(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise ValueError(f"{shown(text)} cannot stand here; expected {self.expected}")
        return text


@dataclass(frozen=True, slots=True)
class OneOf:
    """Validator: one of some texts that a table elsewhere has."""

    choices: tuple[str, ...]

    def __call__(self, text: str) -> str:
        if text not in self.choices:
            raise ValueError(f"{shown(text)} is not one of {', '.join(self.choices)}")
        return text


# Written text is taken as it stands: a serial 0123 or a kernel 7.10 is no number here. Editors may see one.
_text = Spelled(r"[^\x00-\x1f\x7f]{1,200}", "1 to 200 printable characters")
Text = Annotated[str, AfterValidator(_text), WithJsonSchema({"type": ["string", "number"]})]
_name = Spelled(r"[a-z0-9][a-z0-9._-]{0,63}", "small letters, digits and . _ -")
Name = Annotated[str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{_name.pattern}$"})]
_algorithm = Spelled(r"[a-z0-9][a-z0-9_-]{0,126}", "a compressor's name, for example lz4 or lzo-rle")
AlgorithmName = Annotated[str, AfterValidator(_algorithm)]
_module = Spelled(r"/[^\0]*[.]ko", "the absolute path of a .ko on this computer, as `./lab build zram` prints it")
ModuleFile = Annotated[str, AfterValidator(_module)]
DevicePath = Annotated[str, AfterValidator(_absolute)]
Server = Annotated[str, AfterValidator(_server)]
Kernel = Annotated[str, AfterValidator(OneOf(KERNELS)), WithJsonSchema({"enum": [*KERNELS, *map(float, KERNELS)]})]
Arch = Annotated[str, AfterValidator(OneOf(ARCHS)), WithJsonSchema({"enum": list(ARCHS)})]
PageSize = Annotated[str, AfterValidator(OneOf(tuple(PAGE_SIZES))), WithJsonSchema({"enum": list(PAGE_SIZES)})]
BatchSize = Annotated[int, Field(ge=1, le=MAX_BATCH_SIZE)]
BatchSizes = Annotated[tuple[BatchSize, ...], Field(min_length=1), AfterValidator(_ascending)]
DataSize = Annotated[Bytes, AfterValidator(SizeRange(1 * MIB, 64 * GIB, multiple=_PAGE))]
# Batch sizes at which parts of the data are written back: the first and the kernel's own.
MOST_BATCHES_IN_PARTS = 2
# A divisor of the data: 4 is a quarter of it.
Part = Annotated[int, Field(ge=2, le=64)]
DataSizes = Annotated[tuple[DataSize, ...], Field(min_length=1), AfterValidator(_ascending)]
Distinct = AfterValidator(_distinct)


def _branch(value: object) -> str:
    return "auto" if isinstance(value, str) else "list"


def _size_branch(value: object) -> str:
    """A size that is no list gets the advice to write one."""
    return "auto" if value == "auto" else "list"


Auto = Annotated[Literal["auto"], Tag("auto")]
AUTO_OR_LIST = Discriminator(_branch)


Timeout = Annotated[Seconds, AfterValidator(DurationRange(0.1, 24 * 3600))]


class Model(BaseModel):
    """Frozen, and an unknown key is an error. A field's docstring is its description in schema and docs."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=False, allow_inf_nan=False
    )


Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Values that are right each by itself and wrong together; ``keys`` are theirs, the likelier culprit first.

    Of several that want more room from one value, ``need`` (bytes) tells which one wants most.
    """

    keys: tuple[Key, ...]
    message: str
    need: int = 0


class Match(Model):
    """Picks the profile for a phone. Every key given must fit; `*` and `?` are wildcards, case is ignored."""

    model: Text | None = None
    """`ro.product.model`"""
    device: Text | None = None
    """`ro.product.device`, the code name"""
    manufacturer: Text | None = None
    """`ro.product.manufacturer`"""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.model is self.device is self.manufacturer is None:
            raise ValueError("expected at least one of model, device, manufacturer")
        return self


class AdbConnection(Model):
    """A phone at an adb server."""

    serial: Text | None = None
    """adb serial; without it the phone is named by `--device` or `ANDROID_SERIAL`"""
    server: Server | None = None
    """HOST:PORT of the adb server; without it `ANDROID_ADB_SERVER_HOST` and `_PORT`, else 127.0.0.1:5037"""


class VirtualConnection(Model):
    """A virtual phone that the run boots."""

    kernel: Kernel = DEFAULT.kernel
    """only 7.3 has `writeback_batch_size`; [virtual-phone.md](virtual-phone.md) says what each stands for"""
    arch: Arch = "auto"
    """its processor; `auto` is the host's own where KVM runs guests, else arm64"""
    page_size: PageSize = "4k"
    """the kernel's page: 16k for arm64 and kernels from 6.12"""
    memory: Annotated[Bytes, AfterValidator(SizeRange(1 * GIB, 256 * GIB, multiple=1 * MIB))] = 2 * GIB
    """the phone's RAM"""
    cpus: Annotated[int, Field(ge=1, le=64)] = 2
    """the phone's CPUs"""
    ufs: Annotated[Bytes, AfterValidator(SizeRange(1 * GIB, 1 * TIB, multiple=1 * MIB))] = 4 * GIB
    """size of its UFS disk; takes room on the host only as it is written"""

    @model_validator(mode="after")
    def _there_is_one(self) -> Self:
        try:
            find(self.kernel, self.arch, PAGE_SIZES[self.page_size])
        except ProfileError as error:
            raise ValueError(f"{error}. {error.hint}") from error
        return self


class Connection(Model):
    """One of the two ways to a phone."""

    adb: AdbConnection | None = None
    """a phone on adb"""
    virtual: VirtualConnection | None = None
    """a virtual phone"""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.adb is None) == (self.virtual is None):
            raise ValueError("expected exactly one of adb, virtual")
        return self


class ZramSection(Model):
    """The zram device under test."""

    device: ZramDevice = ZramDevice.takeover
    """`takeover`: a zram device of the phone, put back afterwards; `hot_add`: a new one beside those of the phone"""
    number: Annotated[int, Field(ge=0, le=255)] = 0
    """which zram device of the phone: the one to take over; with `hot_add` the one that shows what the kernel can do"""
    disksize: Annotated[Bytes, AfterValidator(SizeRange(16 * MIB, 256 * GIB, multiple=_PAGE))] = 2 * GIB
    """uncompressed size of the device, at least twice each of `sweep.data`"""
    comp_algorithm: AlgorithmName | None = None
    """compressor; without it the one that the phone uses"""
    module: ModuleFile | None = None
    """a build of zram's module on this computer, loaded for the run in place of the phone's own (docs/builds.md)"""


class Backing(Model):
    """What zram writes back to."""

    kind: BackingKind = BackingKind.loop
    """`loop`: a file through a loop device; `mapped`: a file's blocks without one; `partition`: raw, is overwritten"""
    path: DevicePath = "/data/per_boot/zram_writeback"
    """the file (made and removed by the run), or the block device, which has no default"""
    size: Annotated[Bytes, AfterValidator(SizeRange(4 * MIB, 64 * GIB, multiple=_PAGE))] = 1 * GIB
    """size of the file, at least twice each of `sweep.data`; a partition is used whole"""
    direct_io: bool = True
    """loop only: bypass the page cache, as Android does; false measures the buffered variant"""
    block_size: Annotated[Bytes, AfterValidator(SizeRange(512, 64 * KIB)), AfterValidator(_power_of_two)] = 4096
    """loop only: logical block size, at least that of the storage (4096 on UFS) for direct I/O"""
    pinned: bool = False
    """loop only: pin the file, so that F2FS garbage collection does not move it; Android does not"""
    erase: bool = False
    """partition only: must be true, to say that what is on the partition may be lost"""


class Sweep(Model):
    """Writeback throughput: every combination of these lists is one point."""

    batch_sizes: BatchSizes = (1, 8, 32, 64, 128)
    """values of `writeback_batch_size`, rising, 1 to 4096"""
    data: Annotated[Auto | Annotated[DataSizes, Tag("list")], Discriminator(_size_branch)] = (64 * MIB,)
    """how much is written back per repeat, rising; `auto`: as much as lasts half a second at the largest batch"""
    pages: Annotated[tuple[PageKind, ...], Field(min_length=1), Distinct] = (PageKind.incompressible, PageKind.mixed)
    """what the pages hold"""
    order: Annotated[tuple[SlotOrder, ...], Field(min_length=1), Distinct] = (SlotOrder.sparse, SlotOrder.scattered)
    """which slots are free: `sparse`: a random half of twice the data; `sequential`: one half of it, in one piece;
    `scattered`: random ones of a zram that fills the whole backing device, as on a phone in use"""
    parts: Annotated[tuple[Part, ...], Distinct] = (4, 16)
    """these parts of the data are written back in each round too, for throughput against size: 4 is a quarter; at the
    first batch size and at 32"""
    repeats: Annotated[int, Field(ge=1, le=1000)] = 8
    """most rounds, each of which measures every batch size once; 5 or more for an interval, 8 for a word"""
    warmups: Annotated[int, Field(ge=0, le=100)] = 0
    """rounds before those, kept apart"""

    @property
    def sizes(self) -> tuple[int | None, ...]:
        """Return the sizes of the data; None is as much as lasts long enough."""
        return (None,) if isinstance(self.data, str) else self.data

    def most_bytes(self, room: int) -> int:
        """Return the bytes that all combinations write to the storage at most, on a backing device of ``room`` bytes.

        Where a size is open it is a quarter of the room. Filling zram ahead of the rounds comes on top.
        """
        sizes = [room // 4 if size is None else size for size in self.sizes]
        rounds = self.repeats + self.warmups
        in_parts = sum(size // part for size in sizes for part in self.parts)
        measured = rounds * (len(self.batch_sizes) * sum(sizes) + MOST_BATCHES_IN_PARTS * in_parts)
        fills = sum(room if order is SlotOrder.scattered else 0 for order in self.order)
        return len(self.pages) * (len(self.order) * measured + fills * len(sizes))


class Limits(Model):
    """Where a run stops or waits to spare the phone. Looked at before the run and around every test."""

    temperature: Annotated[float, Field(ge=20, le=60, json_schema_extra={"x-unit": "°C"})] = 42
    """warmest that battery and skin may be; hotter, the run waits for the phone to cool"""
    battery: Annotated[int, Field(ge=0, le=100, json_schema_extra={"x-unit": "%"})] = 30
    """lowest charge at which a run, or its next test, begins"""
    written_per_run: Annotated[Bytes, AfterValidator(SizeRange(64 * MIB, 16 * TIB))] = 25 * GIB
    """most that the phone may write to its storage, which wears, during a run"""
    cooldown: Annotated[Seconds, AfterValidator(DurationRange(0, 24 * 3600))] = 600
    """longest wait for the phone to cool; still hot, a run is refused, a test's figures get a caveat"""


class Deadlines(Model):
    """Total time limits; what exceeds one is reported as a lost phone."""

    command: Timeout = 30
    """one round trip"""
    boot: Timeout = 120
    """until a phone that was started or rebooted answers"""
    writeback: Timeout = 600
    """one writeback, which nothing can cancel"""
