"""Where this project keeps things on the host: cache (may be deleted any time) and state (must not)."""

from __future__ import annotations

import os
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
_NAME = "zram-writeback-lab"


def cache_dir() -> Path:
    """Images, built probes: ``$ZRAM_LAB_CACHE``, else ``$XDG_CACHE_HOME/zram-writeback-lab``."""
    return _dir("ZRAM_LAB_CACHE", "XDG_CACHE_HOME", ".cache")


def state_dir() -> Path:
    """Journals, leases, virtual phones: ``$ZRAM_LAB_STATE``, else ``$XDG_STATE_HOME/zram-writeback-lab``."""
    return _dir("ZRAM_LAB_STATE", "XDG_STATE_HOME", ".local/state")


def _dir(ours: str, xdg: str, fallback: str) -> Path:
    if chosen := os.environ.get(ours):
        path = Path(chosen).expanduser().resolve()
    else:
        base = os.environ.get(xdg)
        path = (Path(base) if base else Path.home() / fallback) / _NAME
    path.mkdir(parents=True, exist_ok=True)
    return path
