"""Raw samples of a run that may come from anywhere: nothing but a whole file of numbers is read, and no code is run."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from base.errors import ReportError
from base.files import open_regular

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

RAW_FOLDER = "raw"
# A GiB of samples: more than any run takes, less than would cost the host its memory.
MOST_SAMPLES = 1 << 27

_HINT = "copy the whole folder of the run, raw/ included"
# As numpy.save writes a flat array of uint64: the format's version 1.0, and a header in two bytes of length.
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(rb"\{'descr': '<u8', 'fortran_order': False, 'shape': \(([0-9]{1,15}),\), \} *\n")
_LONGEST_HEADER = 1024


def raw_path(folder: Path, name: str) -> Path:
    """Return where a raw file lies. Raises ReportError for a name that leads out of the run's folder, or nowhere."""
    if _is_plainly_inside(folder, name):
        return folder / name
    try:
        path = folder / name
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, links in a circle
        raise ReportError(f"{name[:200]!r}: not the name of a raw file", hint=_HINT) from error
    if not inside:
        raise ReportError(f"{name}: a raw file outside of the run's folder is not read", hint=_HINT)
    return path


def _is_plainly_inside(folder: Path, name: str) -> bool:
    """Whether nothing on the way down from the folder is a link, which saves resolving the way from the root.

    A run has some hundred of these files, and the history reads a thousand runs a night.
    """
    parts = name.split("/")
    if not {"", ".", ".."}.isdisjoint(parts):
        return False
    path = os.fspath(folder)
    try:
        for part in parts:
            path = f"{path}/{part}"
            if stat.S_ISLNK(os.lstat(path).st_mode):
                return False
    except (OSError, ValueError):
        return False
    return True


def why_not_there(folder: Path, name: str) -> str:
    """Return "" where a raw file lies, else what is wrong. Opens nothing. Raises ReportError as ``raw_path`` does."""
    path = raw_path(folder, name)
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return error.strerror or "not readable"
    return "" if stat.S_ISREG(mode) else "no regular file"


def read_samples(folder: Path, name: str, test: str) -> npt.NDArray[np.uint64]:
    """Return every sample of a raw file. Raises ReportError that names it, ``test`` and what is wrong with it."""
    import numpy as np

    path = raw_path(folder, name)
    try:
        with open_regular(path) as file:
            count = _count(file)
            if count is None:
                raise ReportError(f"{name}: the samples of {test} are no flat array of uint64", hint=_HINT)
            if count > MOST_SAMPLES or os.fstat(file.fileno()).st_size - file.tell() != 8 * count:
                raise ReportError(f"{name}: the samples of {test} are not readable: not a whole .npy file", hint=_HINT)
            return np.fromfile(file, dtype=np.uint64, count=count)
    except OSError as error:
        why = error.strerror or str(error)
        raise ReportError(f"{name}: the samples of {test} are not readable: {why}", hint=_HINT) from error


def _count(file: BinaryIO) -> int | None:
    """The number of elements that the header promises; None where it is no header of a flat array of uint64."""
    magic, length = file.read(len(_MAGIC)), int.from_bytes(file.read(2), "little")
    header = _HEADER.fullmatch(file.read(length)) if magic == _MAGIC and length <= _LONGEST_HEADER else None
    return int(header[1]) if header else None
