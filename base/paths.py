"""Where this project keeps things on the host: cache (may be deleted any time) and state (must not)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from base.errors import EnvironmentRefused
from base.files import replace_file, why_not_private

REPO = Path(__file__).resolve().parent.parent
_NAME = "zram-writeback-lab"


def cache_dir() -> Path:
    """Images, built probes: ``$ZRAM_LAB_CACHE``, else ``$XDG_CACHE_HOME/zram-writeback-lab``."""
    return _dir("ZRAM_LAB_CACHE", "XDG_CACHE_HOME", ".cache")


def state_dir() -> Path:
    """Journals and virtual phones: ``$ZRAM_LAB_STATE``, else ``$XDG_STATE_HOME/zram-writeback-lab``.

    Raises EnvironmentRefused where others could write: what lies there is carried out on phones, as root.
    """
    path = _dir("ZRAM_LAB_STATE", "XDG_STATE_HOME", ".local/state", mode=0o700).resolve()
    # A folder that a user chose may have its mode for a reason; ours has none but a careless umask.
    return _private(path) if os.environ.get("ZRAM_LAB_STATE") else private_folder(path)


def private_folder(path: Path) -> Path:
    """Make a folder of our own that only this user can enter. Raises EnvironmentRefused if it is somebody else's."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.is_symlink() and path.stat().st_uid == os.geteuid():
            path.chmod(0o700)
        return _private(path)
    except OSError as error:
        raise EnvironmentRefused(
            f"{path}: no folder can be there: {error.strerror or error}",
            hint="move what is in the way, or name a folder of your own: ZRAM_LAB_STATE",
        ) from error


def _private(path: Path) -> Path:
    found = path.lstat()
    reason = why_not_private(found) if stat.S_ISDIR(found.st_mode) else "it is a link"
    if reason:
        raise EnvironmentRefused(
            f"{path}: {reason}; what lies there would be carried out on phones as root",
            hint=f"`chmod go-w {path}` if you trust what is in it, or name a folder of your own: ZRAM_LAB_STATE",
        )
    return path


def keep_trace(text: str) -> Path | None:
    """Keep how an unforeseen error came about; the last one only. None where that cannot be written."""
    try:
        path = cache_dir() / "internal-error.txt"
        replace_file(path, text)
    except (EnvironmentRefused, OSError):
        return None
    return path


def _dir(ours: str, xdg: str, fallback: str, *, mode: int = 0o755) -> Path:
    chosen, base = os.environ.get(ours), os.environ.get(xdg)
    try:
        if chosen:
            path = Path(chosen).expanduser().resolve()
        else:
            path = (Path(base) if base else Path.home() / fallback) / _NAME
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        name = ours if chosen else xdg if base else "HOME"
        why = getattr(error, "strerror", None) or error
        raise EnvironmentRefused(
            f"{name}={os.environ.get(name, '')}: no folder can be made there: {why}",
            hint=f"set {ours} to a folder that you may write to",
        ) from error
    return path
