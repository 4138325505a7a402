"""What a night comes to: counts, and one exit status for all of its phones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from base.errors import (
    EXIT_DEVICE_LOST,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_NO_BASELINE,
    EXIT_REFUSED,
    EXIT_RESTORE_FAILED,
    EXIT_USAGE,
)
from farm.baselines import Against
from farm.night import CANCELLED
from farm.night_log import MEASURED, NightState, PhoneEnd
from farm.window import EXIT_WINDOW_OVER

# What most needs somebody to act goes first: a phone that is not as it was, a mistake that every night would repeat,
# what the night was for, and only then what kept it from being whole.
WORST_FIRST = (
    EXIT_RESTORE_FAILED, EXIT_USAGE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_WINDOW_OVER, EXIT_DEVICE_LOST, EXIT_REFUSED,
    EXIT_NO_BASELINE,
)  # fmt: skip


def counts_of(state: NightState, against: Mapping[str, Against]) -> dict[str, int]:
    """How many phones ended how, and how many were picked, stood in for others, measured, regressed, not compared."""
    ends = [phone.end for phone in state.phones.values()]
    return {
        "picked": sum(not phone.stands_in_for for phone in state.phones.values()),
        "stand_ins": sum(bool(phone.stands_in_for) for phone in state.phones.values()),
        "measured": sum(end in MEASURED for end in ends),
        "regressions": sum(each.status == EXIT_FAILED for each in against.values()),
        "not_compared": sum(each.status == EXIT_NO_BASELINE for each in against.values()),
        "infra": sum(each.kind == "infra" for phone in state.phones.values() for each in phone.attempts),
        **{str(end): ends.count(end) for end in PhoneEnd},
    }


def status_of(state: NightState, against: Mapping[str, Against], quota: float) -> int:
    """Return the one exit status of a night. A quota that is met makes up for phones that the lab lost."""
    counts = counts_of(state, against)
    found = set(_statuses(counts, quota))
    if any(phone.end is PhoneEnd.cut for phone in state.phones.values()):
        found.add(EXIT_INTERRUPTED if state.stopping == CANCELLED else EXIT_WINDOW_OVER)
    return next((status for status in WORST_FIRST if status in found), 0)


def _statuses(counts: Mapping[str, int], quota: float) -> Iterable[int]:
    if counts["not_restored"]:
        yield EXIT_RESTORE_FAILED
    if counts["wrong"]:
        yield EXIT_USAGE
    if counts["failed"] or counts["regressions"]:
        yield EXIT_FAILED
    if counts["measured"] < quota * counts["picked"] or not counts["measured"]:
        if counts["lost"]:
            yield EXIT_DEVICE_LOST
        if counts["refused"] or counts["quarantined"]:
            yield EXIT_REFUSED
    if counts["not_compared"]:
        yield EXIT_NO_BASELINE
