"""Which pages the probe makes. The notation is the probe's: zero, same-filled, compressible@ratio, incompressible."""

from __future__ import annotations

from typing import Any

MIXES = {
    "incompressible": "i100",
    "compressible": "c100@3",
    # About what anonymous memory of Android apps is said to look like; a stated assumption, not a measurement.
    "mixed": "z5,s5,c60@3,i30",
}


def stored_pages(reply: dict[str, Any]) -> int:
    """Pages of a ``fill`` that zram can write back: zero and same-filled ones never reach the backing device (T11)."""
    return int(reply["compressible"]) + int(reply["incompressible"])
