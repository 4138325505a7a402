"""How the commands that are pytest hand over to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from base.paths import REPO


def pytest_command(folder: str, arguments: Sequence[str]) -> list[str]:
    """Pytest on all of a folder of ours, unless the arguments name files or folders in it."""
    within = REPO / folder
    what = [] if any(_is_in(within, word) for word in arguments) else [str(within)]
    settings = ["--rootdir", str(REPO), "-c", str(REPO / "pyproject.toml")]
    return [sys.executable, "-m", "pytest", *settings, *what, *arguments]


def become_pytest(folder: str, arguments: Sequence[str]) -> NoReturn:
    """This process goes on as pytest, so that signals and the exit status are its own."""
    command = pytest_command(folder, arguments)
    os.execv(command[0], command)


def _is_in(folder: Path, word: str) -> bool:
    try:
        path = Path(word.partition("::")[0]).resolve()
        return path.exists() and path.is_relative_to(folder)
    except (OSError, ValueError, RuntimeError):  # the value of another option, and nothing that a path can be
        return False
