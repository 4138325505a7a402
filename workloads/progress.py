"""What a measurement tells whoever watches: one call per step."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], None]


def silent(step: str) -> None:
    """For callers that do not watch."""
