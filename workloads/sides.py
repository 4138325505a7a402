"""What a side of a comparison is: settings of zram and of what it writes back to, each made so and put back.

A side is a list of settings, ``key=value``. Each key is a row of ``KINDS``: how its value is read, why a phone may not
have it, and how a stage is made so within a scope of changes. A new kind of setting is a row there and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from base.errors import DeviceError, EnvironmentRefused, ProfileError
from base.kernel import MAX_BATCH_SIZE
from base.parsing import number_or_none
from base.units import shown
from devices.device import Changes
from devices.journal import Expect, ExpectRule, Undo
from devices.storage import disk_below
from devices.transport import Write
from devices.zram import selected
from workloads.module_side import lacks_build, parse_build, with_build
from workloads.stage import Stage
from workloads.turns import NotAvailable
from workloads.variants import VARIANTS, Variant, attach, path_of

DEFAULT = "default"
"""a side without settings: the phone as the profile sets it up"""
_YES_NO = {"yes": True, "on": True, "1": True, "no": False, "off": False, "0": False}
_BY_SLUG = {variant.slug: variant for variant in VARIANTS}
# The attribute's value is written as it stands; nothing of it may end a line or a word.
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9._:,=-]{1,64}")


@dataclass(frozen=True, slots=True)
class SettingKind:
    """One key. ``parse`` raises ValueError with what was expected.

    ``lacks`` says why a phone cannot have the value, or nothing; it only looks. ``apply`` makes a stage so within these
    changes, with the way back in the journal first, and returns the stage that is measured on.
    ``keeps_zram``: what zram holds outlives the setting. ``empties_zram``: putting it back does not even leave a zram
    that both sides could share, though both have it.
    """

    key: str
    about: str
    parse: Callable[[str], Any]
    lacks: Callable[[Stage, SideSetting], str]
    apply: Callable[[Changes, Stage, SideSetting], Stage]
    keeps_zram: bool = False
    empties_zram: bool = False


@dataclass(frozen=True, slots=True)
class SideSetting:
    """One setting of a side. ``name`` is the whole key as it was written, ``value`` what ``text`` means."""

    kind: SettingKind
    name: str
    text: str
    value: Any

    def __str__(self) -> str:
        return f"{self.name}={self.text}"


@dataclass(frozen=True, slots=True)
class PhoneSide:
    """One of the two that are compared: ``base`` or ``cand``, and its settings in the order of ``KINDS``."""

    name: str
    settings: tuple[SideSetting, ...] = ()

    @property
    def words(self) -> str:
        """Return its settings as they were written."""
        return " ".join(map(str, self.settings)) or DEFAULT

    @property
    def needs_new_zram(self) -> tuple[tuple[str, str], ...]:
        """Return what of it cannot be had without losing what zram holds."""
        return tuple((each.name, each.text) for each in self.settings if not each.kind.keeps_zram)

    def __str__(self) -> str:
        return f"{self.name.upper()} ({self.words})"


def parse_sides(base: str, cand: str, common: Sequence[str] = ()) -> tuple[PhoneSide, PhoneSide]:
    """Return both sides; ``common`` are settings of both. Raises ProfileError with every error of all of them."""
    errors: list[str] = []
    sides = [_side(name, [*common, *_words(text)], errors) for name, text in (("base", base), ("cand", cand))]
    if errors:
        known = ", ".join(_known_keys())
        raise ProfileError("\n".join(dict.fromkeys(errors)), hint=f"settings: {known}; or {DEFAULT} for none")
    return sides[0], sides[1]


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text) if word and word != DEFAULT]


def _side(name: str, words: Sequence[str], errors: list[str]) -> PhoneSide:
    found: dict[str, SideSetting] = {}
    for word in words:
        try:
            setting = _setting(word)
        except ValueError as error:
            errors.append(f"{name.upper()}: {error}")
            continue
        if setting.name in found:
            errors.append(f"{name.upper()}: {setting.name} is given twice")
        found[setting.name] = setting
    order = list(KINDS.values())
    return PhoneSide(name, tuple(sorted(found.values(), key=lambda each: order.index(each.kind))))


def _setting(word: str) -> SideSetting:
    name, is_one, text = word.partition("=")
    if not is_one or not text:
        raise ValueError(f"{shown(word)} is no setting; write it as key=value, for example batch_size=32")
    if why := _NOT_IN_TURN.get(name):
        raise ValueError(f"{name}: {why}")
    kind = KINDS.get(f"{name.partition('.')[0]}." if "." in name else name)
    if kind is None:
        near = get_close_matches(name, _known_keys(), 1)
        raise ValueError(f"{shown(name)} cannot be set" + (f"; did you mean {near[0]}?" if near else ""))
    try:
        return SideSetting(kind, name, text, kind.parse(text))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _known_keys() -> list[str]:
    return [f"{key}NAME" if key.endswith(".") else key for key in KINDS]


@dataclass(slots=True)
class FittingRoom:
    """Puts the sides on a stage in turn: what the one changed is put back before the other is made so.

    ``generation`` counts how often zram lost what it held: what was prepared in it before is gone.
    """

    plain: Stage
    generation: int = 0
    _worn: PhoneSide | None = None
    _stage: Stage | None = None
    _scope: ExitStack = field(default_factory=ExitStack)

    def wear(self, side: PhoneSide) -> Stage:
        """Make the stage so, unless it is already, and return it. Raises LabError where the phone refuses."""
        if self._worn == side and self._stage is not None:
            return self._stage
        before = self._worn
        self.take_off()
        changes = self._scope.enter_context(self.plain.device.changes())
        stage = self.plain
        for setting in side.settings:
            stage = setting.kind.apply(changes, stage, setting)
        emptied = any(setting.kind.empties_zram for setting in side.settings)
        if before is None or emptied or before.needs_new_zram != side.needs_new_zram:
            self.generation += 1
        self._worn, self._stage = side, stage
        return stage

    def take_off(self) -> None:
        """Put back what the side that is worn changed."""
        self._worn = self._stage = None
        self._scope.close()


@contextmanager
def fitting_room(stage: Stage, sides: Sequence[PhoneSide]) -> Iterator[FittingRoom]:
    """Yield a room for these sides; afterwards none is worn.

    Raises EnvironmentRefused with all that the phone lacks, before anything is set.
    """
    settings = [setting for side in sides for setting in side.settings]
    missing = {f"{setting}: {why}" for setting in settings if (why := setting.kind.lacks(stage, setting))}
    if missing:
        told = "\n".join(sorted(missing))
        raise EnvironmentRefused(f"{stage.device.serial}: {told}", hint="leave it out, or take another phone or kernel")
    room = FittingRoom(stage)
    try:
        yield room
    finally:
        room.take_off()


def _batch_size(text: str) -> int:
    number = number_or_none(text, least=1)
    if number is None or number > MAX_BATCH_SIZE:
        raise ValueError(f"{shown(text)} is no batch size; expected 1 to {MAX_BATCH_SIZE}")
    return number


def _algorithm(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,126}", text):
        raise ValueError(f"{shown(text)} is no compressor; expected its name, for example lz4")
    return text


def _yes_or_no(text: str) -> bool:
    if text not in _YES_NO:
        raise ValueError(f"{shown(text)} is neither yes nor no")
    return _YES_NO[text]


def _variant(text: str) -> Variant:
    if text not in _BY_SLUG:
        raise ValueError(f"{shown(text)} is no backing device; expected one of {', '.join(_BY_SLUG)}")
    return _BY_SLUG[text]


def _plain(text: str) -> str:
    if not _PLAIN_VALUE.fullmatch(text):
        raise ValueError(f"{shown(text)} cannot be written to an attribute")
    return text


def _lacks_algorithm(stage: Stage, setting: SideSetting) -> str:
    offered = stage.zram.read("comp_algorithm").replace("[", "").replace("]", "").split()
    return "" if setting.value in offered else f"this kernel offers {', '.join(offered)}"


def _lacks_variant(stage: Stage, setting: SideSetting) -> str:
    try:
        path_of(stage.profile, setting.value)
    except NotAvailable as error:
        return str(error)
    return ""


def _on_variant(changes: Changes, stage: Stage, setting: SideSetting) -> Stage:
    profile, variant = stage.profile, setting.value
    disk = disk_below(stage.device, path_of(profile, variant))
    backing = attach(changes, profile, variant, profile.backing.size)
    changes.will_undo(stage.zram.let_go())
    return replace(stage, backing=backing, disk=disk)


def _attribute(stage: Stage, setting: SideSetting) -> str:
    """Return the file of ``zram.NAME``, or of ``queue.NAME`` of the device that zram writes back to."""
    where, _, name = setting.name.partition(".")
    return stage.zram.attribute(name) if where == "zram" else f"/sys/block/{stage.backing.name}/queue/{name}"


def _lacks_attribute(stage: Stage, setting: SideSetting) -> str:
    if setting.name not in stage.profile.ab.attributes:
        named = ", ".join(stage.profile.ab.attributes) or "none"
        return f"the profile does not name it in ab.attributes ({named})"
    path = _attribute(stage, setting)
    return "" if stage.device.read_many([path])[path] is not None else f"{path} cannot be read"


def _with_attribute(changes: Changes, stage: Stage, setting: SideSetting) -> Stage:
    """Write an attribute, and see that it took the value: some are clamped, some need another scheduler."""
    device, path = stage.device, _attribute(stage, setting)
    before = device.read(path).strip()
    rule = ExpectRule.selected if "[" in before else ExpectRule.equal
    was = selected(before)
    changes.will_undo(Undo(f"{path} as it was", (Write(path, was),), (Expect(path, was, rule),)))
    device.write(path, setting.value)
    if (seen := selected(device.read(path))) != setting.value:
        raise DeviceError(f"{device.serial}: {path} reads {seen} after {setting.value} was written")
    return stage


_NOT_IN_TURN: Mapping[str, str] = {
    "kernel": "a kernel needs a reboot between turns, which this command does not do; compare two runs of "
    "`./lab run --kernel A --kernel B`",
}  # fmt: skip

KINDS: Mapping[str, SettingKind] = {
    kind.key: kind
    for kind in (
        SettingKind(
            "zram", "a build of zram's module: stock, FILE.patch or FILE.ko", parse_build,
            lambda stage, setting: lacks_build(stage, setting.value),
            lambda changes, stage, setting: with_build(changes, stage, setting.value), empties_zram=True,
        ),
        SettingKind(
            "backing", f"what zram writes back to: {', '.join(_BY_SLUG)}", _variant, _lacks_variant, _on_variant,
            empties_zram=True,
        ),
        SettingKind(
            "comp_algorithm", "zram's compressor", _algorithm, _lacks_algorithm,
            lambda changes, stage, setting: replace(stage, comp_algorithm=setting.value),
        ),
        SettingKind(
            "compressed_writeback", "whether pages are written back as zram keeps them: yes or no", _yes_or_no,
            lambda stage, setting: "" if stage.zram.compressed_writeback() else "not on this kernel",
            lambda changes, stage, setting: replace(stage, compressed_writeback=setting.value),
        ),
        SettingKind(
            "batch_size", "`writeback_batch_size`, 1 to 4096", _batch_size,
            lambda stage, setting: "" if stage.has_batch_size else "this kernel has no writeback_batch_size",
            lambda changes, stage, setting: replace(stage, batch_size=setting.value), keeps_zram=True,
        ),
        SettingKind(
            "queue.", "an attribute of the backing device's queue that the profile names", _plain, _lacks_attribute,
            _with_attribute, keeps_zram=True,
        ),
        SettingKind(
            "zram.", "an attribute of zram that outlives a reset and that the profile names", _plain, _lacks_attribute,
            _with_attribute, keeps_zram=True,
        ),
    )
}  # fmt: skip
"""every kind of setting, in the order in which they are made so"""
