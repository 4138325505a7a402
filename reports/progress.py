"""How far a run is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import Any, TextIO

# On something that is not a terminal a line is written at most this often.
_LINE_EVERY_S = 10.0


class ProgressBar:
    """Counts steps against a total that becomes known once the tests are collected."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._bar: Any = None
        self._total = 0
        self._done = 0
        self._began_s = time.monotonic()
        self._last_line_s = 0.0

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

    def step(self, what: str) -> None:
        """One step begins; the one before it is done."""
        if self._bar is not None:
            self._bar.set_description_str(what, refresh=False)
            self._bar.update(1)
        elif self._total and time.monotonic() - self._last_line_s >= _LINE_EVERY_S:
            self._last_line_s = time.monotonic()
            print(f"step {self._done + 1} of {self._total}{self._left()}: {what}", file=self._out, flush=True)
        self._done += 1

    def _left(self) -> str:
        if self._done < 3:
            return ""
        left_s = (time.monotonic() - self._began_s) / self._done * (self._total - self._done)
        return f", about {left_s:.0f} s left"

    def close(self) -> None:
        """Take the bar off the terminal; lines can still be said."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
