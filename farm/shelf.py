"""The farm's file: which phones there are, and what a night measures on them. Checked as a profile is, all at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from base.errors import LabError, ProfileError
from base.units import GIB, MIB, TIB, shown
from devices.profiles.messages import did_you_mean, problems_of
from devices.profiles.nodes import Node, Problem, Unreadable, read_tree
from devices.profiles.profile import Profile
from devices.profiles.quantities import Bytes, DurationRange, Seconds, SizeRange
from devices.profiles.reading import known, load
from devices.profiles.sections import Distinct, Model, Server, Text
from devices.profiles.what_is_measured import Plan
from farm.window import clock_time

_HINT = "docs/farm.md lists every key. Check again with: ./lab nightly FILE --dry-run"
# What each phone has without being given it.
OWN_TAGS = ("serial", "profile", "model", "health")


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}", text):
        raise ValueError(f"{shown(text)} cannot name a folder; expected letters, digits, - and _")
    return text


def _percent(value: object) -> object:
    """``80 %`` as 0.8; what is a share already stays."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"([0-9]{1,3}) ?%", value.strip())
    if not found or int(found[1]) > 100:
        raise ValueError(f"{shown(value)} is not a share; expected for example 80 %")
    return int(found[1]) / 100


Tags = dict[Text, Text]
Share = Annotated[float, BeforeValidator(_percent)]
Clock = Annotated[str, AfterValidator(clock_time)]


class ShelfPhone(Model):
    """One phone of the farm. ``serial: virtual`` is the virtual phone, which is booted for its run."""

    serial: Text
    """its adb serial"""
    profile: Text | None = None
    """the profile that it is measured with; without it the one that fits the phone"""
    tags: Tags = Field(default_factory=dict)
    """words to pick it by"""
    server: Server | None = None
    """the adb server that it is at, HOST:PORT; without it this computer's"""

    @property
    def all_tags(self) -> Mapping[str, str]:
        """Return the tags, with those that every phone has; ``health`` is not known here."""
        own = {"serial": self.serial, **({"profile": self.profile, "model": self.profile} if self.profile else {})}
        return {**own, **self.tags}


class WindowSection(Model):
    """When a night may measure, by this computer's clock. An end before the start is on the next day."""

    start: Clock
    """the earliest time at which a phone begins, HH:MM"""
    end: Clock
    """when everything is over, HH:MM"""
    restore_reserve: Annotated[Seconds, AfterValidator(DurationRange(10, 3600))] = 300
    """how long before the end what still runs is stopped, so that phones are put back by then"""


class RetrySection(Model):
    """How often a phone is tried again."""

    infra: Annotated[int, Field(ge=0, le=5)] = 2
    """after a failure of the lab: a lost phone, a refusal, a process that was killed"""
    product: Annotated[int, Field(ge=0, le=1)] = 1
    """after a test that failed, which tells flaky from broken"""
    equal_phone: bool = False
    """then an equal phone that was not picked is measured instead: same profile, tags `kernel` and `build`"""


class BaselineSection(Model):
    """What a night's runs are compared with."""

    by: Annotated[tuple[Literal["profile", "kernel_release", "build"], ...], Field(min_length=1), Distinct] = (
        "profile", "kernel_release", "build",
    )  # fmt: skip
    """runs that agree in these have a baseline in common"""
    pin: Text = "baselines"
    """the folder of pinned runs, relative to this file"""


def _life_time(value: object) -> object:
    """``0x06`` as 6: steps of a tenth of its life, as UFS counts them."""
    try:
        return int(value, 0) if isinstance(value, str) else value
    except ValueError:
        raise ValueError(f"{shown(value)} is no life time of UFS; expected for example 0x06") from None


class BudgetSection(Model):
    """How much of a phone's storage its measurements may wear out."""

    written_per_week: Annotated[Bytes, AfterValidator(SizeRange(64 * MIB, 64 * TIB))] | None = None
    """bytes within seven nights; from two thirds of it on plan quick is taken, from all of it on the phone rests"""
    life_time: Annotated[int, BeforeValidator(_life_time), Field(ge=1, le=11)] | None = None
    """`life_time_estimation_a` of UFS from which on a phone is bad: 0x06 is half of its life"""


class KeepSection(Model):
    """Room on this computer."""

    least_free: Annotated[Bytes, AfterValidator(SizeRange(0, 16 * TIB))] = 1 * GIB
    """what must stay free where the results are"""


class LabgridSection(Model):
    """Phones that are places of a labgrid coordinator."""

    coordinator: Server = "127.0.0.1:20408"
    """where it listens, HOST:PORT"""
    grace: Annotated[Seconds, AfterValidator(DurationRange(1, 3600))] = 600
    """how long it may be away before a run that goes on is ended"""


class EngineSection(Model):
    """Where the phones come from."""

    labgrid: LabgridSection | None = None
    """a coordinator, for phones of several computers"""


def _engine(value: object) -> object:
    """``local``, or the name of another engine with its keys."""
    if value == "local":
        return {}
    if value == "labgrid":
        return {"labgrid": {}}
    if isinstance(value, str):
        raise ValueError(f"{shown(value)} is not one of local, labgrid{did_you_mean(value, ('local', 'labgrid'))}")
    return value


class Farm(Model):
    """The phones of one shelf, and what a night does with them."""

    farm: Annotated[str, AfterValidator(_name)]
    """the shelf's name, which is in the names of its nights"""
    engine: Annotated[EngineSection, BeforeValidator(_engine)] = EngineSection()
    """`local`: phones at this computer's adb server; `labgrid`: places of a coordinator"""
    phones: tuple[ShelfPhone, ...] = ()
    pick: tuple[Tags, ...] = ()
    """which phones: those that have all tags of one of these; without it all of them"""
    plan: Plan = Plan.nightly
    """how much is measured"""
    window: WindowSection | None = None
    at_once: Annotated[int, Field(ge=1, le=64)] = 8
    """phones that are measured at once"""
    retry: RetrySection = RetrySection()
    quota: Share = 1.0
    """share of the picked phones that must be measured for a good night, for example 80 %"""
    baseline: BaselineSection = BaselineSection()
    budget: BudgetSection = BudgetSection()
    keep: KeepSection = KeepSection()
    notify: tuple[Text, ...] = ()
    """a program and its arguments; it gets the night's JSON on stdin when the night is over"""


@dataclass(frozen=True, slots=True)
class Shelf:
    """A farm's file that was read and found right."""

    file: Path
    farm: Farm

    @property
    def baselines(self) -> Path:
        """Return the folder of pinned runs."""
        return self.file.parent / self.farm.baseline.pin

    def checked(self) -> Shelf:
        """Return itself. Raises ProfileError for a tag of ``pick`` that no phone has."""
        tags = {*OWN_TAGS, *(tag for phone in self.farm.phones for tag in phone.tags)}
        for key in (key for wanted in self.farm.pick for key in wanted if key not in tags):
            message = f"{self.file}: pick: {key}: unknown tag{did_you_mean(key, tags)}"
            raise ProfileError(message, hint=f"tags: {_listed(tags)}")
        return self

    def phone(self, serial: str) -> ShelfPhone:
        """Return the phone of that serial. Raises ProfileError that says which there are."""
        for phone in self.farm.phones:
            if phone.serial == serial:
                return phone
        serials = [phone.serial for phone in self.farm.phones]
        raise ProfileError(
            f"{self.file}: no phone {shown(serial)}{did_you_mean(serial, serials)}",
            hint=f"phones: {', '.join(serials)}",
        )

    def equals_of(self, serial: str) -> list[ShelfPhone]:
        """Return the other phones with the profile and the tags ``kernel`` and ``build`` of this one."""

        def kind(phone: ShelfPhone) -> tuple[str | None, ...]:
            return (phone.profile, phone.tags.get("kernel"), phone.tags.get("build"))

        own = self.phone(serial)
        return [phone for phone in self.farm.phones if phone.serial != serial and kind(phone) == kind(own)]

    def picked(self, health: Mapping[str, str], only: Mapping[str, str]) -> list[ShelfPhone]:
        """Return the phones that ``pick`` and ``only`` (from the command line) choose, in the file's order.

        ``health`` maps a serial to good, suspect or bad. Raises ProfileError when no phone has such tags.
        """
        _check_asked(only, self)
        found = [
            phone
            for phone in self.farm.phones
            if any(_has(phone, health, {**wanted, **only}) for wanted in self.farm.pick or ({},))
        ]
        if not found:
            wanted = " or ".join(", ".join(f"{k}={v}" for k, v in {**each, **only}.items()) for each in self.farm.pick)
            raise ProfileError(
                f"{self.file}: no phone has {wanted or ', '.join(f'{k}={v}' for k, v in only.items())}",
                hint="./lab farm list shows every phone with its tags and its health",
            )
        return found


def read_shelf(path: Path) -> Shelf:
    """Read a farm's file. Raises ProfileError with one line per error."""
    path, problems = path.absolute(), list[Problem]()
    try:
        tree = read_tree(path, problems, "farm")
    except Unreadable as error:
        raise ProfileError(str(error.problem), hint=_HINT) from error
    farm: Farm | None = None
    try:
        farm = Farm.model_validate(tree.plain())
    except ValidationError as error:
        said = {(problem.where, problem.key) for problem in problems}
        problems += [new for new in problems_of(error.errors(), Farm, tree, [path]) if (new.where, new.key) not in said]
    problems += [*_twice(tree), *_profiles(tree), *_phones_of(tree, farm), *_no_plan(tree, farm)]
    if problems or farm is None:
        ordered = sorted(problems, key=lambda problem: problem.where.line)
        raise ProfileError("\n".join(dict.fromkeys(map(str, ordered))), hint=_HINT)
    return Shelf(path, farm)


def _has(phone: ShelfPhone, health: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    # A suspect phone is looked at again: it is good once it passes.
    state = "good" if health.get(phone.serial, "good") != "bad" else "bad"
    tags = {**phone.all_tags, "health": health.get(phone.serial, "good")}
    return all(tags.get(key) == value or (key == "health" and value == state) for key, value in wanted.items())


def _check_asked(only: Mapping[str, str], shelf: Shelf) -> None:
    tags = {*OWN_TAGS, *(tag for phone in shelf.farm.phones for tag in phone.tags)}
    for key in only:
        if key not in tags:
            raise ProfileError(f"--pick {key}: unknown tag{did_you_mean(key, tags)}", hint=f"tags: {_listed(tags)}")


def _entry(node: Node, key: str) -> Node:
    return node.entries.get(key) or Node(None, node.where)


def _twice(tree: Node) -> Iterator[Problem]:
    first: dict[str, Node] = {}
    for phone in _entry(tree, "phones").items:
        serial = _entry(phone, "serial")
        if not isinstance(serial.value, str):
            continue
        if (earlier := first.setdefault(serial.value, serial)) is not serial:
            message = f"{shown(serial.value)} is on the shelf already, on line {earlier.where.line}"
            yield Problem(serial.where, f"{message}; a phone runs one measurement at a time", serial.key)


def _profiles(tree: Node) -> Iterator[Problem]:
    for phone in _entry(tree, "phones").items:
        name, serial = _entry(phone, "profile"), _entry(phone, "serial").value
        if not isinstance(name.value, str):
            continue
        try:
            profile = load(name.value)
        except LabError as error:
            yield Problem(name.where, str(error).splitlines()[0], name.key)
            continue
        own = profile.connection.adb.serial if profile.connection.adb else None
        if own and own != serial:
            yield Problem(name.where, f"profile {profile.name} is of the phone {own}", name.key)


def _phones_of(tree: Node, farm: Farm | None) -> Iterator[Problem]:
    """The file has the phones, or the coordinator has them: then their tags are not known here."""
    engine, phones = _entry(tree, "engine"), _entry(tree, "phones")
    if farm and farm.engine.labgrid:
        if farm.phones:
            yield Problem(phones.where, "with engine labgrid the phones are the coordinator's places; leave this out",
                          "phones")  # fmt: skip
        return
    if farm and not farm.phones:
        is_empty = "the list is empty; expected at least one value"
        yield Problem(phones.where, is_empty if phones.key else "missing; it has no default", "phones")
    if not isinstance(engine.value, dict) and engine.value != "labgrid":
        yield from _unknown_tags(tree)


def _unknown_tags(tree: Node) -> Iterator[Problem]:
    tags = {*OWN_TAGS}
    for phone in _entry(tree, "phones").items:
        tags |= _entry(phone, "tags").entries.keys()
    for wanted in _entry(tree, "pick").items:
        for key, node in wanted.entries.items():
            if key not in tags:
                message = did_you_mean(key, tags) or f"; tags: {_listed(tags)}"
                yield Problem(node.where, f"unknown tag{message}", node.key)


def _no_plan(tree: Node, farm: Farm | None) -> Iterator[Problem]:
    """A phone whose profile does not define the night's plan."""
    for phone in farm.phones if farm else ():
        try:
            profile_of(phone, farm.plan) if farm else None
        except LabError as error:
            if phone.profile and "plan" in str(error):
                yield Problem(_entry(tree, "plan").where, f"{phone.serial}: {error}", "plan")


def profile_of(phone: ShelfPhone, plan: str) -> Profile | None:
    """Return the phone's profile with the plan's changes; None where the phone itself decides. Raises ProfileError."""
    name = phone.profile or (phone.serial if phone.serial in known() else None)
    return load(name).for_plan(plan) if name else None


def _listed(words: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(words))
