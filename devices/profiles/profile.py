"""What a profile says, as frozen models: how to reach a phone, what to measure on it and where to stop.

The keys are documented in docs/profiles.md, whose table is made from the descriptions in the models.
devices/profiles/reading.py reads the YAML and reports errors with file and line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Self, TypeVar

from pydantic import ValidationError, model_validator
from pydantic_core import PydanticCustomError

from base.errors import ProfileError
from base.units import KIB, MIB, format_size
from devices.capability import Capability
from devices.profiles.kept_partitions import kept_name
from devices.profiles.messages import too_short_for_another_reason, words_for
from devices.profiles.quantities import Mix, Share
from devices.profiles.sections import (
    AdbConnection,
    Backing,
    BackingKind,
    Conflict,
    Connection,
    Deadlines,
    Distinct,
    Key,
    Limits,
    Match,
    Model,
    Name,
    PageKind,
    Root,
    SELinuxMode,
    SlotOrder,
    Sweep,
    Text,
    VirtualConnection,
    WriteBoosterMode,
    ZramDevice,
    ZramSection,
)
from devices.profiles.what_is_measured import (
    Alternated,
    Apps,
    AppsKind,
    Compressors,
    Faults,
    Inflight,
    Load,
    Plan,
    PlanChanges,
    Plans,
    PressureGoal,
    RunBudget,
    SuiteName,
    SwitchPattern,
    Tests,
    Trigger,
    Variants,
)

__all__ = [
    "AdbConnection",
    "Apps",
    "AppsKind",
    "Backing",
    "BackingKind",
    "Compressors",
    "Conflict",
    "Connection",
    "Deadlines",
    "Faults",
    "Inflight",
    "Limits",
    "Load",
    "Match",
    "PageKind",
    "Plan",
    "PlanChanges",
    "Plans",
    "PressureGoal",
    "Profile",
    "Root",
    "SlotOrder",
    "Sweep",
    "SwitchPattern",
    "Trigger",
    "Variants",
    "VirtualConnection",
    "ZramDevice",
    "ZramSection",
]

_M = TypeVar("_M", bound=Model)
_FOREIGN_KEYS: dict[BackingKind | AppsKind, tuple[str, ...]] = {
    BackingKind.loop: ("erase",),
    BackingKind.mapped: ("direct_io", "block_size", "pinned", "erase"),
    BackingKind.raw_partition: ("size", "direct_io", "block_size", "pinned"),
    AppsKind.synthetic: ("packages",),
    AppsKind.packages: ("anonymous", "file_backed", "working_set", "pages", "touch"),
}
# For an upper bound of what a run writes: the kinds that there are, each with some room.
_VARIANTS, _COMPRESSORS = 7, 12
# Pages written back per fault that is timed, at each batch size: its own half of them, and the victims of a race.
_FAULT_WRITES = 8
_FAULTS = {SuiteName.fault_latency, SuiteName.faults_during_writeback, SuiteName.faults_under_load}
# Eight turns on three backing devices, half a second of writing each.
_LOAD_WRITES = 24 * 64 * MIB
# Eight turns of twice six writebacks at each batch size, a quarter of a MiB each.
_READS_WRITES = 8 * 2 * 6 * 256 * KIB


class Profile(Model):
    """One phone model: how to reach it, what it must have, what to measure and within which limits."""

    name: Name
    """what `--device` calls it; the file's name"""
    extends: Text | None = None
    """a profile's name, or a path relative to this file; its keys apply where this file has none"""
    tried: bool = False
    """whether the suite has been run on this very phone model"""
    match: Match | None = None
    """which phones this profile is for; without it only by name"""
    connection: Connection = Connection(adb=AdbConnection())
    """the way to the phone"""
    root: Root = Root.auto
    """`auto` tries adbd, `su -c`, `su 0`, `adb root` in turn"""
    selinux: SELinuxMode = SELinuxMode.keep
    """`permissive`: for the run only, where the phone's policy keeps the kernel from the backing file"""
    write_booster: WriteBoosterMode = WriteBoosterMode.keep
    """`off`: for the run only, so that writes reach the flash and not UFS's fast buffer in front of it"""
    must_have: Annotated[tuple[Capability, ...], Distinct] = (Capability.writeback,)
    """promised: missing on the phone, it is an error; what is not promised and missing is skipped"""
    precision: Share = 0.10
    """rounds go on until each ratio of a test is known to within this share, or until something else ends them"""
    budget: RunBudget | None = None
    """how long a run measures, shared among its tests by weight; without it precision and `repeats` alone decide"""
    tests: Tests = tuple(SuiteName)
    """what a run measures that names no test, in this order"""
    own_pages: Mix | None = None
    """what `pages: own` means, in per cent of each kind (probe/README.md); `./lab doctor --content` tells a phone's"""
    zram: ZramSection = ZramSection()
    backing: Backing = Backing()
    sweep: Sweep = Sweep()
    inflight: Inflight = Inflight()
    faults: Faults = Faults()
    variants: Variants = Variants()
    compressors: Compressors = Compressors()
    apps: Apps = Apps()
    ab: Alternated = Alternated()
    limits: Limits = Limits()
    deadlines: Deadlines = Deadlines()
    plans: Plans = Plans()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if conflicts := tuple(_conflicts(self)):
            text = "; ".join(conflict.message for conflict in conflicts)
            raise PydanticCustomError("conflict", "{text}", {"text": text, "conflicts": conflicts})
        return self

    def mix_of(self, pages: PageKind) -> str:
        """Return what the probe calls such pages."""
        return self.own_pages if pages == PageKind.own and self.own_pages else pages.mix

    @property
    def planned_writes(self) -> int:
        """Bytes that the profile's tests write to the storage at most, but for ``writes_of``'s exceptions."""
        return self.writes_of(self.tests)

    def writes_of(self, tests: Collection[str]) -> int:
        """Bytes that these tests write to the storage at most, apart from app switches, which bound themselves.

        A turn that was disturbed is measured again, which is not counted.
        """
        sweep, inflight, variants, compressors = self.sweep, self.inflight, self.variants, self.compressors
        faults = _FAULT_WRITES * self.faults.samples * len(self.faults.batch_sizes) * 4 * KIB
        most: Mapping[str, int] = {
            SuiteName.writeback_throughput: sweep.most_bytes(self.backing.size),
            SuiteName.inflight_depth: inflight.most_points * inflight.data * 4 * inflight.repeats,
            SuiteName.backing_variants: _VARIANTS * variants.data * 2 * variants.repeats,
            SuiteName.compressors: _COMPRESSORS * compressors.data * compressors.repeats,
            SuiteName.reads_during_writeback: _READS_WRITES * len(self.faults.batch_sizes),
            SuiteName.faults_under_load: _LOAD_WRITES if Load.sequential_write in self.faults.loads else 0,
        }  # fmt: skip
        return sum(written for test, written in most.items() if test in tests) + faults * bool(_FAULTS & set(tests))

    @property
    def sha256(self) -> str:
        """Fingerprint of what the profile says, whichever files and plan it came from."""
        said = json.dumps(self.model_dump(mode="json", exclude={"extends", "plans"}), sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()

    def for_plan(self, plan: Plan | str) -> Profile:
        """This profile with the plan's changes; ``standard`` without changes is the profile itself.

        Raises ProfileError for a plan that the profile does not define.
        """
        if plan not in tuple(Plan):
            raise ProfileError(f"{plan!r} is not a plan; expected one of {', '.join(Plan)}")
        changes: PlanChanges | None = getattr(self.plans, plan)
        if changes is None and plan != Plan.standard:
            raise ProfileError(
                f"profile {self.name} has no plan {plan}",
                hint=f"Give it one under plans.{plan}, or extend a profile that has one (docs/profiles.md).",
            )
        return self.model_copy(update=_planned(self, changes))

    def with_overrides(
        self,
        *,
        batch_sizes: Sequence[int] | None = None,
        repeats: int | None = None,
        precision: str | None = None,
        budget: str | None = None,
        machine: Mapping[str, str] | None = None,
    ) -> Profile:
        """This profile with the command line's options; ``machine`` holds those of the virtual phone, by key.

        ``budget`` may be ``none``. Raises ProfileError that names the option.
        """
        changes: dict[str, Any] = {}
        if batch_sizes is not None:
            changes["batch_sizes"] = tuple(sorted(batch_sizes))
        if repeats is not None:
            changes["repeats"] = repeats
        update: dict[str, Any] = {"sweep": _overridden(self.sweep, changes)}
        ends = {"precision": precision, "budget": budget}
        limits = _overridden(PlanChanges(), {key: text for key, text in ends.items() if text not in (None, "none")})
        update |= {key: getattr(limits, key) for key in limits.model_fields_set}
        if budget == "none":
            update["budget"] = None
        if machine:
            if self.connection.virtual is None:
                option = f"--{next(iter(machine)).replace('_', '-')}"
                raise ProfileError(
                    f"{option}: profile {self.name} is not a virtual phone's",
                    hint=f"A phone's kernel is what is flashed on it. Leave {option} out, or use --device virtual.",
                )
            update["connection"] = Connection(virtual=_overridden(self.connection.virtual, dict(machine)))
        return self.model_copy(update=update)


def _merged(base: Any, changes: Any) -> Any:
    """``base`` with the keys that ``changes`` was given; a change of ``kind`` starts from the defaults."""
    if changes is None:
        return base
    if not isinstance(changes, Model):
        return changes
    given = changes.model_dump(exclude_unset=True)
    same_kind = given.get("kind", getattr(base, "kind", None)) == getattr(base, "kind", None)
    return base.model_validate({**(base.model_dump(exclude_unset=True) if same_kind else {}), **given})


def _planned(profile: Profile, changes: PlanChanges | None) -> dict[str, Any]:
    changes = changes or PlanChanges()
    return {name: _merged(getattr(profile, name), getattr(changes, name)) for name in PlanChanges.model_fields}


def _overridden(section: _M, changes: dict[str, Any]) -> _M:
    try:
        return section.model_validate({**section.model_dump(exclude_unset=True), **changes})
    except ValidationError as error:
        lines = [
            # Options that do not go together are nobody's own fault: such an error has no place.
            "".join(f"--{str(each).replace('_', '-')}: " for each in found["loc"][:1])
            + words_for(found, found["loc"], type(section))
            for found in error.errors()
            if not too_short_for_another_reason(found)
        ]
        raise ProfileError("\n".join(lines), hint="See ./lab run --help.") from error


def _conflicts(profile: Profile) -> Iterator[Conflict]:
    """Conflicts of the profile itself, then those that only a plan brings in."""
    base = list(_between_sections(profile))
    yield from base
    known = {conflict.message for conflict in base}
    for plan in Plan:
        changes: PlanChanges | None = getattr(profile.plans, plan)
        if changes is None:
            continue
        for conflict in _between_sections(profile.model_copy(update=_planned(profile, changes))):
            if conflict.message not in known:
                keys = tuple(_where_given(key, plan, changes) for key in conflict.keys)
                yield replace(conflict, keys=keys, message=f"in plan {plan}: {conflict.message}")


def _where_given(key: Key, plan: Plan, changes: PlanChanges) -> Key:
    """The key under ``plans`` if it is the plan that gives this value."""
    section = getattr(changes, str(key[0]), None)
    return ("plans", plan, *key) if section is not None and key[1] in section.model_fields_set else key


def _between_sections(profile: Profile) -> Iterator[Conflict]:
    yield from _backing_conflicts(profile.backing)
    yield from _room_conflicts(profile)
    apps = profile.apps
    if apps.kind == AppsKind.synthetic and apps.working_set > apps.anonymous:
        sizes = f"working_set {format_size(apps.working_set)}, anonymous {format_size(apps.anonymous)}"
        yield Conflict((("apps", "working_set"), ("apps", "anonymous")), f"an app touches more than it holds: {sizes}")
    yield from _foreign_keys("apps", apps)
    kinds = {
        "sweep": profile.sweep.pages, "inflight": profile.inflight.pages, "compressors": (profile.compressors.pages,),
        "apps": (apps.pages,),
    }  # fmt: skip
    for section, pages in kinds.items():
        if PageKind.own in pages and profile.own_pages is None:
            yield Conflict(((section, "pages"), ("own_pages",)), "pages: own needs own_pages, which says what they are")
    if (apps.trace is None) == (apps.pattern == SwitchPattern.trace):
        yield Conflict((("apps", "trace"), ("apps", "pattern")), "pattern: trace and a file in trace go together")
    variants = profile.variants
    if variants.partition is not None and not variants.erase:
        yield Conflict(
            (("variants", "erase"), ("variants", "partition")),
            f"partition overwrites {variants.partition}; say erase: true if what is on it may be lost",
        )
    if variants.partition is not None:
        yield from _kept_conflicts(("variants", "partition"), variants.partition)


def _backing_conflicts(backing: Backing) -> Iterator[Conflict]:
    yield from _foreign_keys("backing", backing)
    on_device = backing.path.startswith("/dev/block/")
    path_and_kind: tuple[Key, ...] = (("backing", "path"), ("backing", "kind"))
    if backing.kind != BackingKind.raw_partition and backing.path.startswith(("/dev/", "/proc/", "/sys/")):
        yield Conflict(path_and_kind, f"{backing.path} cannot be a file of our own; expected one below /data")
    if backing.kind == BackingKind.raw_partition and not on_device:
        yield Conflict(path_and_kind, "kind: partition needs a path below /dev/block/, which is never guessed")
    if backing.kind == BackingKind.raw_partition:
        yield from _kept_conflicts(("backing", "path"), backing.path)
    if backing.kind == BackingKind.raw_partition and not backing.erase:
        yield Conflict(
            (("backing", "erase"), ("backing", "kind")),
            f"kind: partition overwrites {backing.path if on_device else 'the partition'}; "
            "say erase: true if what is on it may be lost",
        )


def _kept_conflicts(key: Key, path: str) -> Iterator[Conflict]:
    if name := kept_name(path):
        yield Conflict((key,), f"{name} is never overwritten: the phone or its user's data would be lost with it")


def foreign_keys(model: Backing | Apps) -> tuple[str, ...]:
    """Return the section's keys that mean nothing with its ``kind``."""
    return _FOREIGN_KEYS[model.kind]


def _foreign_keys(section: str, model: Backing | Apps) -> Iterator[Conflict]:
    for key in foreign_keys(model):
        if key in model.model_fields_set:
            yield Conflict(((section, key), (section, "kind")), f"{key} does not go with kind: {model.kind}")


def _room_conflicts(profile: Profile) -> Iterator[Conflict]:
    """The sweep needs twice the data: while one half is refilled, the other still takes blocks."""
    rooms: list[tuple[Key, int]] = [(("zram", "disksize"), profile.zram.disksize)]
    if profile.backing.kind != BackingKind.raw_partition:
        rooms.append((("backing", "size"), profile.backing.size))
    samples = profile.faults.samples
    needs: list[tuple[Key, int, str]] = [(("faults", "samples"), 2 * samples * 4 * KIB, f"faults.samples {samples}")]
    for i, size in enumerate(profile.sweep.sizes):
        if size is not None:
            needs.append((("sweep", "data", i), 2 * size, f"sweep.data {format_size(size)}"))
    for section in ("inflight", "variants", "compressors"):
        size = getattr(profile, section).data
        needs.append(((section, "data"), 2 * size, f"{section}.data {format_size(size)}"))
    for room_key, room in rooms:
        for need_key, need, what in needs:
            if need > room:
                enough = format_size(-(-need // MIB) * MIB)
                wanted = f"{'.'.join(map(str, room_key))} of at least {enough}"
                message = f"{what} needs twice its size: {wanted}, not {format_size(room)}"
                yield Conflict((need_key, room_key), message, need)
