"""The program that is told when a night is over. Whatever becomes of it, the night's status stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from base.text import clean
from farm.story import Story

LIMIT_S = 30.0


def call_hook(argv: Sequence[str], story: Story, folder: Path, *, limit_s: float = LIMIT_S) -> str:
    """Give the night's JSON to the program on stdin; returns what went wrong with it, or nothing.

    It runs in ``folder``, the one of the farm's file. One that hangs is killed with all that it started.
    """
    if not argv:
        return ""
    try:
        process = subprocess.Popen(
            argv, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        return f"notify: {argv[0]}: cannot be started: {error.strerror}"
    with process:
        try:
            _, said = process.communicate(json.dumps(story).encode(), timeout=limit_s)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return f"notify: {argv[0]}: not within {limit_s:g} s, killed"
    last = clean(said.decode(errors="replace")).strip().splitlines()[-1:]
    return f"notify: {argv[0]}: exit status {process.returncode}{''.join(f': {line}' for line in last)}" * (
        process.returncode != 0
    )
