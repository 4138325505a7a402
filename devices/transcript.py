"""Every command that was sent to a phone, in order, for whoever has to find out what happened."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from devices.transport import CommandResult


class Transcript:
    """Appends to a file, or forgets when there is none.

    A full disk of the host must not keep a phone from being put back: what cannot be written is forgotten from then on,
    and ``problem`` says so.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.problem = ""

    def write_to(self, path: Path) -> None:
        """From now on write to ``path``; what was forgotten until then stays forgotten."""
        self._path = path

    def add(self, serial: str, results: Sequence[CommandResult], elapsed_s: float) -> None:
        lines = [f"one trip, {len(results)} operations, {elapsed_s * 1000:.1f} ms"]
        for result in results:
            verdict = "skipped" if result.skipped else "missing" if result.missing else f"status {result.status}"
            detail = result.stderr.strip() or result.text
            lines.append(f"    {result.op} -> {verdict}: {detail[:200]!r}")
        self.note(serial, "\n".join(lines))

    def note(self, serial: str, text: str) -> None:
        if self._path is not None:
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            try:
                with self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                    file.write(f"{now} {serial} {text}\n")
            except OSError as error:
                self.problem = f"{self._path} ends at {now}: {error.strerror or error}"
                self._path = None
