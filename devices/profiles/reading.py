"""Finds profiles, resolves ``extends`` and reports everything that is wrong with one at once, with file and line.

A profile is named by a word (looked for in ``$ZRAM_LAB_PROFILES``, then among the shipped ones) or by a path, which
has a ``/`` or ends in ``.yaml``.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from base.errors import ProfileError
from base.units import shown
from devices.profiles.messages import Loc, did_you_mean, own_part, problems_of
from devices.profiles.nodes import Node, Problem, Unreadable, Where, describe, read_tree
from devices.profiles.profile import Apps, Backing, Match, Profile

SHIPPED = Path(__file__).resolve().parent
_SUFFIXES = (".yaml", ".yml")
# A child that said nothing about these would claim to be its parent.
_NOT_INHERITED = ("name", "extends", "tried", "match")
_DEFAULT_KINDS = {"backing": Backing().kind, "apps": Apps().kind}
_HINT = "docs/profiles.md lists every key. Check again with: ./lab validate"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A profile with where each of its values was written.

    ``files`` are the profile's own file and the ones it extends, nearest first. ``origins`` maps a dotted key
    (``sweep.batch_sizes``) to its place; keys without one have the default.
    """

    profile: Profile
    files: tuple[Path, ...]
    origins: Mapping[str, Where]


def load(name_or_path: str | Path) -> Profile:
    """The profile, valid and with its parents' keys.

    Raises ProfileError with one line per error of the profile and of the files it extends.
    """
    return resolved(name_or_path).profile


def known() -> list[str]:
    """Names of all profiles, shipped ones and those in ``$ZRAM_LAB_PROFILES``, sorted."""
    return sorted({path.stem for folder in _folders() for path in _profiles_in(folder)})


def resolved(name_or_path: str | Path) -> Resolved:
    """Like ``load``, with the origin of each value."""
    problems: list[Problem] = []
    layers, files, complete = _layers(_locate(str(name_or_path)), problems)
    if not layers:
        raise _error(problems)
    tree = layers[-1]
    for child in reversed(layers[:-1]):
        tree = _merged(_inheritable(tree, child), child)
    profile = _validated(tree, files, problems, conflicts_count=complete)
    problems += _misnamed(tree, files[0])
    if profile is None or problems:
        raise _error(problems)
    return Resolved(profile, tuple(files), MappingProxyType(dict(_origins(tree))))


def match_profile(*, model: str | None = None, device: str | None = None, manufacturer: str | None = None) -> Profile:
    """The profile for a phone with these properties: the one whose ``match`` fits with the most keys, else generic.

    A profile of the user's own folder goes before a shipped one. Raises ProfileError if two fit equally.
    """
    phone = {"model": model, "device": device, "manufacturer": manufacturer}
    best: list[str] = []
    best_rank = (0, False)
    for name in known():
        found = resolved(name)
        fitting = _fitting_keys(found.profile.match, phone)
        rank = (fitting, found.files[0].parent != SHIPPED)
        if fitting and rank > best_rank:
            best, best_rank = [name], rank
        elif fitting and rank == best_rank:
            best.append(name)
    if len(best) > 1:
        says = ", ".join(f"{key} {value!r}" for key, value in phone.items() if value)
        raise ProfileError(
            f"profiles {' and '.join(best)} fit the phone ({says}) equally well",
            hint=f"Give one of them one more key under match, or choose: --device {best[0]}",
        )
    return load(best[0] if best else "generic")


def _fitting_keys(match: Match | None, phone: Mapping[str, str | None]) -> int:
    """How many keys fit; 0 unless all that are given do."""
    wanted = match.model_dump(exclude_none=True) if match else {}
    fits = all(fnmatchcase((phone[key] or "").casefold(), pattern.casefold()) for key, pattern in wanted.items())
    return len(wanted) if fits else 0


def _folders() -> list[Path]:
    """Where names are looked up, the user's own folder first."""
    own = os.environ.get("ZRAM_LAB_PROFILES")
    if not own:
        return [SHIPPED]
    folder = Path(own).absolute()
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.X_OK):
        raise ProfileError(
            f"ZRAM_LAB_PROFILES: {folder} is not a directory that can be read", hint="Set it right, or unset it."
        )
    return [folder, SHIPPED]


def _profiles_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES and not path.name.startswith("."))


def _is_path(reference: str) -> bool:
    return "/" in reference or reference.endswith(_SUFFIXES)


def _locate(name_or_path: str) -> Path:
    if _is_path(name_or_path):
        return Path(name_or_path).absolute()
    return _by_name(name_or_path) or _no_such(name_or_path)


def _by_name(name: str, *, but_not: Path | None = None) -> Path | None:
    """The file of that name; a file may extend the shipped profile of its own name, so it can be left out."""
    for folder in _folders():
        for path in _profiles_in(folder):
            if path.stem == name and path != but_not:
                return path
    return None


def _no_such(name: str) -> Path:
    raise ProfileError(
        f"no profile {shown(name)}{did_you_mean(name, known())}",
        hint=f"Known profiles: {', '.join(known())}. A path has a / or ends in .yaml.",
    )


def _layers(path: Path, problems: list[Problem]) -> tuple[list[Node], list[Path], bool]:
    """The profile's tree and those that it extends, nearest first, their files, and whether all were found."""
    layers: list[Node] = []
    files: list[Path] = []
    extends: Node | None = None
    while True:
        try:
            layers.append(read_tree(path, problems))
        except Unreadable as error:
            problems.append(_unreadable_parent(extends, error.problem) if extends else error.problem)
            return layers, files, False
        files.append(path)
        extends = layers[-1].entries.get("extends")
        if extends is None or extends.value is None:
            return layers, files, True
        following = _parent(extends, files, problems)
        if following is None:
            return layers, files, False
        path = following


def _unreadable_parent(extends: Node, problem: Problem) -> Problem:
    """What is wrong inside a file is said there, what is wrong with the file where it is named."""
    return problem if problem.where.line else Problem(extends.where, str(problem), "extends")


def _parent(extends: Node, files: Sequence[Path], problems: list[Problem]) -> Path | None:
    """The file that ``extends`` means; None, with the problem noted, if it means none or one that we came from."""
    name = extends.value
    if not isinstance(name, str):
        message = f"{describe(name)}; expected a profile's name or path"
        problems.append(Problem(extends.where, message, "extends"))
        return None
    here = files[-1]
    path = Path(os.path.normpath(here.parent / name)) if _is_path(name) else _by_name(name, but_not=here)
    if path is None and name != here.stem:
        message = f"no profile {shown(name)}{did_you_mean(name, known()) or ';'} known profiles: {', '.join(known())}"
    elif path is None or path in files:
        circle = [*files[files.index(path or here) :], path or here]
        message = f"circular: {' -> '.join(file.stem for file in circle)}"
    else:
        return path
    problems.append(Problem(extends.where, message, "extends"))
    return None


def _inheritable(tree: Node, child: Node) -> Node:
    """What ``child`` takes over. Where it changes a section's kind, no plan of the parent changes that section."""
    inherited = _without(tree, _NOT_INHERITED)
    plans = inherited.entries.get("plans")
    if plans is None or not plans.entries:
        return inherited
    others = [key for key, node in child.entries.items() if _changes_kind(tree.entries.get(key), node)]
    kept = {name: _without(plan, others) for name, plan in plans.entries.items()}
    return replace(inherited, value={**inherited.entries, "plans": replace(plans, value=kept)})


def _without(node: Node, keys: Collection[str]) -> Node:
    if not node.entries:
        return node
    return replace(node, value={key: entry for key, entry in node.entries.items() if key not in keys})


def _merged(base: Node, child: Node) -> Node:
    """Deep merge; the child wins, lists are replaced, and so is a section whose kind changes."""
    if not isinstance(base.value, dict) or not isinstance(child.value, dict) or _changes_kind(base, child):
        return child
    entries = dict(base.value)
    for key, node in child.value.items():
        entries[key] = _merged(entries[key], node) if key in entries else node
    return replace(child, value=entries)


def _changes_kind(base: Node | None, child: Node) -> bool:
    """Another ``kind``, or a connection of the other sort: the parent's keys are not about the same thing."""
    known = base.entries if base else {}
    if "kind" in child.entries:
        old = known["kind"].value if "kind" in known else _DEFAULT_KINDS.get(child.key)
        return old is not None and old != child.entries["kind"].value
    return child.key == "connection" and not known.keys() & child.entries.keys()


def _validated(tree: Node, files: Sequence[Path], problems: list[Problem], *, conflicts_count: bool) -> Profile | None:
    """The profile, or None with the problems noted.

    Values that conflict are found even if others are wrong: what is wrong is left out and the rest is looked at again.
    Where a parent could not be had (``conflicts_count`` is false), nothing can be said about conflicts.
    """
    try:
        return Profile.model_validate(tree.plain())
    except ValidationError as error:
        errors = error.errors()
    wrong = [error for error in errors if error["type"] != "conflict"]
    said = {(problem.where, problem.key) for problem in problems}
    problems += [new for new in problems_of(wrong, Profile, tree, files) if (new.where, new.key) not in said]
    if not conflicts_count:
        return None
    left_out = [own_part(error["loc"], tree) for error in wrong]
    rest = tree.plain()
    for loc in left_out:
        _leave_out(rest, loc)
    try:
        Profile.model_validate({"name": "unnamed", **rest})
    except ValidationError as error:
        for found in error.errors():
            if found["type"] == "conflict":
                conflicts = [c for c in found["ctx"]["conflicts"] if not _touches(c.keys, left_out)]
                problems += problems_of([{**found, "ctx": {"conflicts": conflicts}}], Profile, tree, files)
    return None


def _leave_out(data: Any, loc: Loc) -> None:
    """Removes the value at ``loc``; of a list, the whole list."""
    for part in loc[:-1]:
        if not isinstance(data, dict) or not isinstance(data.get(str(part)), dict):
            break
        data = data[str(part)]
    else:
        data.pop(loc[-1], None) if loc else None
        return
    if isinstance(data, dict):
        data.pop(str(part), None)


def _touches(keys: Sequence[Loc], left_out: Sequence[Loc]) -> bool:
    """Whether a conflict is about a value that was left out, so that only a default conflicts."""
    return any(tuple(key[: len(loc)]) == tuple(loc[: len(key)]) for key in keys for loc in left_out if loc)


def _misnamed(tree: Node, file: Path) -> Iterator[Problem]:
    """In a folder of profiles, the file's name is how the profile is found, so it must be the profile's name."""
    name = tree.entries.get("name")
    if name is not None and isinstance(name.value, str) and file.parent in _folders() and name.value != file.stem:
        yield Problem(name.where, f"{name.value!r} is not the file's name, {file.stem!r}", "name")


def _origins(node: Node, key: str = "") -> Iterator[tuple[str, Where]]:
    for name, child in node.entries.items():
        dotted = f"{key}.{name}" if key else name
        if isinstance(child.value, dict):
            yield from _origins(child, dotted)
        else:
            yield dotted, child.where


def _error(problems: Sequence[Problem]) -> ProfileError:
    ordered = sorted(problems, key=lambda problem: (str(problem.where.file), problem.where.line))
    return ProfileError("\n".join(dict.fromkeys(map(str, ordered))), hint=_HINT)
