"""What pydantic found wrong, in words for people and at the line where the value was written."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from devices.profiles.nodes import Node, Problem, describe, label
from devices.profiles.sections import Conflict

Loc = Sequence[str | int]

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "model_type": "a mapping",
}

# Values that were called otherwise in profiles of before.
_RENAMED = {"random": "sparse"}


def problems_of(
    errors: Iterable[ErrorDetails], model: type[BaseModel], root: Node, chain: Sequence[Path]
) -> list[Problem]:
    """One problem per error that ``model`` found in ``root``, a resolved tree.

    ``chain`` are the files that the tree came from, the profile's own first.
    """
    problems: list[Problem] = []
    for error in errors:
        if error["type"] == "conflict":
            problems += _conflict_problems(error["ctx"]["conflicts"], root, chain)
        elif not too_short_for_another_reason(error):
            problems.append(_field_problem(error, model, root))
    return problems


def too_short_for_another_reason(error: ErrorDetails) -> bool:
    """A list that is too short because its items are wrong, which is said of each of them."""
    return error["type"] == "too_short" and bool(error["input"])


def find(root: Node, loc: Loc) -> tuple[Node, Loc]:
    """The deepest node that was written on the way to ``loc``, and the part of ``loc`` below it."""
    node = root
    for depth, part in enumerate(loc):
        match node.value, part:
            case dict() as entries, str() if part in entries:
                node = entries[part]
            case list() as items, int() if part < len(items):
                node = items[part]
            case _:
                return node, loc[depth:]
    return node, ()


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean X?`` or nothing."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    near = get_close_matches(word.casefold(), by_folded, n=1)
    return f"; did you mean {by_folded[near[0]]}?" if near else ""


def _renamed_or_near(word: str, known: Sequence[str]) -> str:
    """Return what the word is called today, or what it resembles."""
    today = _RENAMED.get(word)
    return f"; what was called {word} is {today}" if today in known else did_you_mean(word, known)


def _conflict_problems(conflicts: Iterable[Conflict], root: Node, chain: Sequence[Path]) -> list[Problem]:
    """Each placed at the key that the user wrote: the one in the file closest to the profile itself.

    Where several values want more of one, that one is complained of once, with what is enough for all.
    """
    strongest: dict[object, tuple[int, Problem]] = {}
    for conflict in conflicts:
        written = [node for node, rest in (find(root, key) for key in conflict.keys) if not rest]
        if written:
            node = min(written, key=lambda candidate: chain.index(candidate.where.file))
        else:
            node = find(root, conflict.keys[0])[0]
        topic = (node.where, node.key, conflict.keys[1]) if conflict.need else conflict
        problem = Problem(node.where, conflict.message, node.key)
        if topic not in strongest or conflict.need > strongest[topic][0]:
            strongest[topic] = (conflict.need, problem)
    return [problem for _, problem in strongest.values()]


def _field_problem(error: ErrorDetails, model: type[BaseModel], root: Node) -> Problem:
    loc = own_part(error["loc"], root)
    node, rest = find(root, loc)
    key = ".".join(filter(None, (node.key, *(label(str(part)) for part in rest))))
    return Problem(node.where, words_for(error, loc, model), key)


def own_part(loc: Loc, root: Node) -> Loc:
    """``loc`` without the names that pydantic puts in for the branches of a union."""
    kept: list[str | int] = []
    for part in loc:
        node, rest = find(root, kept)
        is_branch = isinstance(part, str) and isinstance(node.value, list)
        if isinstance(node.value, str) or node.value is None:
            break
        if rest or not is_branch:
            kept.append(part)
    return kept


def words_for(error: ErrorDetails, loc: Loc, model: type[BaseModel]) -> str:
    """What is wrong with the value at ``loc`` of ``model``, and what was expected."""
    if error["type"] in ("greater_than_equal", "less_than_equal"):
        return _out_of_range(error)
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    match kind:
        case "extra_forbidden":
            return _unknown_key(loc, model)
        case "missing":
            return "missing; it has no default"
        case "enum" | "literal_error":
            choices = re.findall(r"'([^']*)'", context["expected"])
            return f"{describe(value)} is not one of {', '.join(choices)}{_renamed_or_near(str(value), choices)}"
        case "too_short":
            return "the list is empty; expected at least one value"
        case "model_type" if value is None:
            return f"nothing is written here; expected its keys: {', '.join(_known_keys(loc, model))}"
        case "value_error":
            return str(context["error"])
        case "model_type":
            return f"{describe(value)} is not a mapping; expected its keys: {', '.join(_known_keys(loc, model))}"
        case "tuple_type" if isinstance(value, str):
            return f"{describe(value)} is not a list; write [{value}]"
        case _:
            expected = f"is not {_EXPECTED[kind]}" if kind in _EXPECTED else f"cannot stand here ({error['msg']})"
            return f"{describe(value)} {expected}"


def _out_of_range(error: ErrorDetails) -> str:
    value, context = error["input"], error["ctx"]
    too_small = "ge" in context
    bound = float(context["ge" if too_small else "le"])
    limit = int(bound) if bound.is_integer() else bound
    return f"{value} is too {'small; expected at least' if too_small else 'large; expected at most'} {limit}"


def _unknown_key(loc: Loc, model: type[BaseModel]) -> str:
    key, known = str(loc[-1]), _known_keys(loc[:-1], model)
    if suggestion := did_you_mean(key, known):
        return f"unknown key{suggestion}"
    elsewhere = [f"{section}.{key}" for section in model.model_fields if key in _known_keys((section,), model)]
    if elsewhere:
        return f"unknown key here; did you mean {' or '.join(elsewhere)}?"
    return f"unknown key; known keys: {', '.join(known)}"


def _known_keys(loc: Loc, model: type[BaseModel]) -> list[str]:
    """The keys of the section at ``loc``; none if there is no such section."""
    for part in loc:
        if isinstance(part, int):  # of a list: its items are of one model
            continue
        section = next(iter(_models_in(model.model_fields[str(part)].annotation)), None)
        if section is None:
            return []
        model = section
    return list(model.model_fields)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)
