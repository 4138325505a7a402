"""Which phones a night measures, with which plan, for how long and in which order; no phone is touched for that."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from base.errors import EnvironmentRefused
from base.units import MIB, format_duration, format_size
from devices.profiles.what_is_measured import Plan
from farm.history.update import on_index
from farm.history.wear import PhoneWear
from farm.history.wear import wear as wear_of
from farm.shelf import Shelf, ShelfPhone
from farm.standing import Standing, State
from farm.window import Window

# Until a phone has been measured with a plan: how long that may take, and what its folder takes.
_GUESS_S: Mapping[str, float] = {Plan.quick: 20 * 60.0, Plan.standard: 60 * 60.0, Plan.nightly: 5 * 3600.0}
_FOLDER_BYTES: Mapping[str, int] = {Plan.quick: 3 * MIB, Plan.standard: 6 * MIB, Plan.nightly: 24 * MIB}
_MARGIN = 1.2


@dataclass(frozen=True, slots=True)
class PlannedPhone:
    """A picked phone. ``plan`` is what fits into the window, empty when nothing does; ``bad`` is why not at all.

    ``worn`` is why its storage is spared: it has a shorter plan then, or rests (``rests``).
    """

    phone: ShelfPhone
    plan: str
    seconds: float
    bad: str = ""
    worn: str = ""
    rests: bool = False


def planned(
    shelf: Shelf, standings: Mapping[str, Standing], only: Mapping[str, str], plan: str, window: Window, seed: int,
    wear: Mapping[str, PhoneWear] | None = None,
) -> list[PlannedPhone]:  # fmt: skip
    """Return the picked phones in the order in which they are begun. Raises ProfileError when there is none.

    Those that were not measured for longest come first, among them those that take longest. ``wear`` maps a serial to
    what measuring has written to the phone within the week.
    """
    health = {serial: str(standing.state) for serial, standing in standings.items()}
    found = []
    for phone in shelf.picked(health, only):
        standing = standings.get(phone.serial) or Standing()
        bad = quarantine_of(standing)
        own, worn = _spared(plan, (wear or {}).get(phone.serial))
        chosen = fitting_plan(standing, own, window.left_s) if own and not bad else ""
        found.append(PlannedPhone(phone, chosen, expected_s(standing, chosen or plan), bad, worn, not own))
    shuffled = random.Random(seed).sample(found, len(found))
    return sorted(shuffled, key=lambda each: (_measured(standings, each.phone.serial), -each.seconds))


def week_of(results: Path, shelf: Shelf) -> Mapping[str, PhoneWear]:
    """What measuring has written to each phone within the week; nothing where the farm's file sets no budget."""
    budget = shelf.farm.budget.written_per_week
    if budget is None or not results.is_dir():
        return {}
    return on_index(results, lambda index, _: {each.serial: each for each in wear_of(index, budget_bytes=budget)})


def _spared(plan: str, wear: PhoneWear | None) -> tuple[str, str]:
    """The plan that the week's budget leaves, empty for a rest, and why."""
    if wear is None or wear.advice == "as planned" or (wear.advice != "rest" and plan == Plan.quick):
        return plan, ""
    why = f"week budget: {format_size(wear.written_bytes >> 20 << 20)} written, {wear.share:.0%} of what is allowed"
    return ("", why) if wear.advice == "rest" else (str(Plan.quick), why)


def expected_s(standing: Standing, plan: str) -> float:
    """How long a run may take: what it took before, and some more; else a guess."""
    known = standing.seconds.get(plan)
    return median(known) * _MARGIN if known else _GUESS_S[plan]


def fitting_plan(standing: Standing, plan: str, left_s: float) -> str:
    """Return the plan, or the next shorter one that fits into the time; empty when none does."""
    longest_first = [each for each in reversed(Plan) if list(Plan).index(each) <= list(Plan).index(Plan(plan))]
    return next((str(each) for each in longest_first if expected_s(standing, each) <= left_s), "")


def quarantine_of(standing: Standing) -> str:
    """Why a phone is not touched; empty for one that may be."""
    if standing.state is not State.bad:
        return ""
    return f"quarantined by {standing.who} on {standing.when[:10]}: {standing.reason}"


def check_room(results: Path, phones: Sequence[PlannedPhone], least_free: int) -> None:
    """Raises EnvironmentRefused when the results would not fit on the disk with ``least_free`` left over."""
    there = next(path for path in (results, *results.absolute().parents) if path.exists())
    needed = sum(_FOLDER_BYTES[each.plan] for each in phones if each.plan)
    free = shutil.disk_usage(there).free
    if free - needed < least_free:
        raise EnvironmentRefused(
            f"{there}: {format_size(free >> 20 << 20)} free, the night takes about {format_size(needed)} and "
            f"keep.least_free is {format_size(least_free)}",
            hint="make room (`./lab history prune`), or choose another folder with --results",
        )


def in_words(each: PlannedPhone, plan: str) -> str:
    """What a dry run says of one phone."""
    if each.bad:
        return each.bad
    if each.rests:
        return f"rests: {each.worn}"
    if not each.plan:
        return f"does not fit into the window: {plan} takes about {format_duration(round(each.seconds))}"
    shorter = f" instead of {plan}, {each.worn or 'which does not fit'}" if each.plan != plan else ""
    return f"{each.plan}{shorter}, about {each.seconds / 60:.0f} min"


def _measured(standings: Mapping[str, Standing], serial: str) -> str:
    standing = standings.get(serial)
    return standing.measured.when if standing and standing.measured else ""
