"""One run per phone: a file lock per phone, which the kernel drops when its holder dies."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from base.errors import EnvironmentRefused
from base.paths import state_dir


@contextmanager
def lease(key: str, run_id: str) -> Iterator[None]:
    """Hold the phone ``key``; EnvironmentRefused that names the holder when another run has it."""
    folder = state_dir() / "leases"
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9._-]", "_", key)
    holder = folder / f"{name}.json"
    lock = FileLock(folder / f"{name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        text = holder.read_text(encoding="utf-8") if holder.exists() else "{}"
        raise EnvironmentRefused(
            f"phone {key} is in use by another run: {text}",
            hint="wait until it ends, or end that process; the lease goes with it",
        ) from None
    try:
        facts = {"pid": os.getpid(), "host": socket.gethostname(), "run": run_id, "since": time.strftime("%FT%T%z")}
        holder.write_text(json.dumps(facts), encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
