"""What the probe answers about devices of the device mapper (probe/README.md)"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Below:
    """What lies below a mapped device: its kind, the device below, and the first sector there, of 512 bytes."""

    type: str
    below: str
    offset: int
