"""How far a run is: a bar on a terminal, elsewhere a line for each test."""

from __future__ import annotations

import time
from typing import Any, TextIO


class ProgressBar:
    """Counts steps against a total that becomes known once the tests are collected.

    Steps, of which there may be several a second, are shown on a terminal only.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._bar: Any = None
        self._total = 0
        self._done = 0
        self._began_s = time.monotonic()
        self._last_said = ""

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._bar is not None:
            self._bar.write(text, file=self._out)
        else:
            print(text, file=self._out, flush=True)

    def total(self, steps: int) -> None:
        self._total = steps
        self._began_s = time.monotonic()
        if self._out.isatty():
            from tqdm import tqdm

            shape = "{percentage:3.0f}% |{bar:20}| {n_fmt}/{total_fmt} {elapsed}, {remaining} left: {desc}"
            self._bar = tqdm(total=steps, file=self._out, bar_format=shape, leave=False, dynamic_ncols=True)

    def test(self, title: str) -> None:
        """A test begins. One function with several parameters, whose tests follow each other, has one line."""
        if self._bar is None and title != self._last_said:
            self._last_said = title
            spent_s = time.monotonic() - self._began_s
            self.say(f"{spent_s:4.0f} s, {self._share()}: {title}")

    def _share(self) -> str:
        """How much of it is done. Rounds go on until the precision is reached, so that the total is an estimate."""
        return f"step {self._done} of {self._total}" if self._done <= self._total else f"step {self._done}"

    def step(self, what: str) -> None:
        """One step begins; the one before it is done."""
        self._done += 1
        if self._bar is not None:
            self._bar.total = max(self._total, self._done)
            self._bar.set_description_str(what, refresh=False)
            self._bar.update(1)

    def close(self) -> None:
        """Take the bar off the terminal; lines can still be said."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
