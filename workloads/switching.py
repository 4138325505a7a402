"""Decides in which order apps come to the front, by pattern, number of apps, rounds and seed alone."""

from __future__ import annotations

import hashlib
import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

from base.errors import ProfileError
from devices.profiles.profile import SwitchPattern


def rounds_of(
    pattern: SwitchPattern, apps: int, rounds: int, seed: int, trace: Sequence[int] = ()
) -> list[tuple[int, ...]]:
    """Return the switches, ``apps`` of them in each round; apps are numbered from 0.

    ``round_robin`` goes through the list as it stands. ``zipf``: the n-th app of the list is chosen n times less often
    than the first. ``least_recent`` always takes the app that was away longest, beginning in an order of the seed:
    the worst case for whatever keeps the recent ones. ``trace`` is played as it was recorded, again from its begin when
    it ends. No pattern but a trace switches to the app that is at the front already.
    """
    switches = {
        SwitchPattern.round_robin: _cycle(range(apps)),
        SwitchPattern.zipf: _zipf(apps, seed),
        SwitchPattern.least_recent: _cycle(_shuffled(apps, seed)),
        SwitchPattern.trace: _cycle(trace),
    }[pattern]
    return [tuple(next(switches) for _ in range(apps)) for _ in range(rounds)]


def sequence_sha256(rounds: Sequence[Sequence[int]]) -> str:
    """Return a hash that is equal for runs that may be compared switch by switch: of the numbers, one per line."""
    return hashlib.sha256("".join(f"{app}\n" for played in rounds for app in played).encode()).hexdigest()


def read_trace(path: Path, names: Sequence[str]) -> list[int]:
    """Read one app per line, its name or its number from 1; blank lines and what follows # do not count.

    Raises ProfileError with file:line for each app that is not there.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: the trace cannot be read: {error}", hint="correct apps.trace") from error
    known = {name: number for number, name in enumerate(names)}
    trace: list[int] = []
    wrong: list[str] = []
    for number, line in enumerate(lines, start=1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        app = int(word) - 1 if word.isdecimal() else known.get(word, -1)
        if 0 <= app < len(names):
            trace.append(app)
        else:
            wrong.append(f"{path}:{number}: unknown app {word!r}")
    if wrong:
        raise ProfileError("\n".join(wrong), hint=f"known are 1 to {len(names)}, or {', '.join(names)}")
    if not trace:
        raise ProfileError(f"{path}: names no app", hint="one name or number per line")
    return trace


def _cycle(apps: Sequence[int]) -> Iterator[int]:
    while True:
        yield from apps


def _shuffled(apps: int, seed: int) -> list[int]:
    """Shuffle the apps by random() alone, whose values Python promises not to change."""
    drawn = random.Random(seed)
    return sorted(range(apps), key=lambda app: drawn.random())


def _zipf(apps: int, seed: int) -> Iterator[int]:
    drawn = random.Random(seed)
    weights = list(accumulate(1 / (rank + 1) for rank in range(apps)))
    front = -1
    while True:
        app = bisect_right(weights, drawn.random() * weights[-1], hi=apps - 1)
        if app != front or apps == 1:
            front = app
            yield app
