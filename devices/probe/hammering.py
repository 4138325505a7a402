"""What the probe answers of work that many threads did at once; names and units are those of probe/README.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from devices.probe.replies import Counted


@dataclass(frozen=True, slots=True)
class Poke:
    """One step of a loop: how often the kernel took it, and how often it refused it, by errno."""

    step: str
    done: int
    refused: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Poked:
    """Steps that were repeated."""

    pokes: tuple[Poke, ...]


def poke_of(pokes: Sequence[Poke], step: str) -> Poke:
    """Return the counts of a step by its text."""
    return next(poke for poke in pokes if poke.step == step)


@dataclass(frozen=True, slots=True)
class Hammered(Counted):
    """Operations on pages, and what was read. ``pages`` counts reads of a page that were compared.

    ``freed_pages`` hold nothing at the end. ``torn`` pages were written by several threads at once and hold none of
    what these wrote. ``failed`` operations ended with an error, the first of them with ``failed_errno``.
    """

    reads: int
    writes: int
    frees: int
    clashes: int
    pageouts_done: int
    freed_pages: int
    torn: int
    failed: int
    failed_errno: str
    pages: int
    corrupt: int
    zeroed: int
    misplaced: int
    damaged: int
    first_corrupt: tuple[int, ...]
    pokes: tuple[Poke, ...]


@dataclass(frozen=True, slots=True)
class TimedStep:
    """A step by the phone's monotonic clock."""

    step: str
    began_ns: int
    ended_ns: int
    errno: str


@dataclass(frozen=True, slots=True)
class StepsBeside:
    """A step and others beside it. ``under_way``: it still ran when the others began."""

    under_way: bool
    first: TimedStep
    others: tuple[TimedStep, ...]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of a backing device, in the phone's pages: whole pages of the probe, nothing but zeros, or something else.

    ``repeated`` of the whole pages lie there more than once. ``shortest_tail`` is the fewest zero bytes at the end of
    a block that is something else, a page's size where there is none.
    """

    blocks: int
    whole: int
    repeated: int
    other: int
    zero: int
    shortest_tail: int
