"""What the probe answers about devices of the device mapper (probe/README.md); sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MappedAttached:
    """A file whose blocks are a device: its node, what lies below, in how many pieces, and at how many places proven.

    ``through`` is the kind of the lowest mapped device that the file system lies on.
    """

    node: str
    below: str
    through: str
    extents: int
    verified: int
    file_bytes: int
    allocated_bytes: int
    fs_magic: str
    created: bool
    pinned: bool
    pin_errno: str


@dataclass(frozen=True, slots=True)
class MappedDetached:
    """Whether there was a mapped device, and whether there was a file to remove."""

    detached: bool
    removed: bool


@dataclass(frozen=True, slots=True)
class Below:
    """What lies below a mapped device: its kind, the device below, and the first sector there, of 512 bytes."""

    type: str
    below: str
    offset: int
