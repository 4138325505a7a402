"""The probe as the tests of it run it: on this host, or under an emulator of another processor."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

Reply = dict[str, Any]
SECONDS = 60


def run(argv: list[str], *words: str) -> tuple[int, Reply]:
    """One command in a process of its own: its exit status and its answer."""
    done = subprocess.run([*argv, *words], capture_output=True, text=True, timeout=SECONDS)
    lines = done.stdout.splitlines()
    assert (len(lines), done.stderr) == (1, "")
    return done.returncode, json.loads(lines[0])


class Served:
    """A probe that serves commands."""

    def __init__(self, process: subprocess.Popen[str], to: IO[str], answers: IO[str]) -> None:
        self.process, self._to, self._answers = process, to, answers

    def send(self, line: str) -> None:
        self._to.write(line + "\n")
        self._to.flush()

    def ask(self, line: str) -> Reply:
        self.send(line)
        reply: Reply = json.loads(self._answers.readline())
        return reply

    def good(self, line: str) -> Reply:
        """An answer that must be a success."""
        reply = self.ask(line)
        assert reply["ok"], f"{line}: {reply}"
        return reply

    def hang_up(self) -> None:
        self._to.close()


@contextmanager
def served(argv: list[str], *, alarm_s: int = SECONDS) -> Iterator[Served]:
    command = [*argv, "serve", f"alarm={alarm_s}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        try:
            yield Served(process, process.stdin, process.stdout)
        finally:
            process.kill()
