"""Reads the probe's answers strictly: what C sends and what Python expects cannot drift apart unnoticed.

An answer is one line of JSON (probe/README.md). A reply is a dataclass with a field for each of the answer's. A field
that is missing, unknown or of another type is an error that names the command and the field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from base.errors import DeviceError
from base.text import clean

T = TypeVar("T")

_QUOTED = 200
_HINT = "does another program write to the probe's output, or do probe/ and devices/probe/replies.py disagree?"


class ReplyNotUnderstood(DeviceError):
    """The probe's answer is not what its command answers with; the message quotes what was read."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hint=_HINT)


@dataclass(frozen=True, slots=True)
class Between:
    """Bounds of a whole number, both inclusive."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class AsArray:
    """The dataclass is sent as an array: its fields in order, without their names."""


Signed = Annotated[int, Between(-(1 << 63), (1 << 63) - 1)]
"""a C int64_t; a plain ``int`` is a uint64_t, a ``bool`` the number 0 or 1"""

_UNSIGNED = Between(0, (1 << 64) - 1)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the probe did not do it; ``errno`` is empty when the reason is not the kernel's."""

    error: str
    errno: str


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """An answer with its envelope taken off. ``took_ns`` is 0 where a command was refused before it began."""

    fields: Mapping[str, object]
    took_ns: int
    refusal: Refusal | None


@dataclass(frozen=True, slots=True)
class _Took:
    took_ns: int


def parse_answer(where: str, line: str) -> ProbeAnswer:
    """Read one line of JSON.

    Raises ReplyNotUnderstood with the line's first characters when it is not a JSON object that says whether it is ok,
    how long it took, and if it is not ok why.
    """
    data = _json_object(where, line)
    ok = data.pop("ok", None)
    if not isinstance(ok, bool):
        raise ReplyNotUnderstood(f"{where}: the answer does not say whether it is ok: {_quoted(line)}")
    refusal = None
    if not ok:
        refusal = read_reply(Refusal, where, {name: data.pop(name) for name in ("error", "errno") if name in data})
        # The only answers without it are those to bad grammar.
        data.setdefault("took_ns", 0)
    took = read_reply(_Took, where, {name: data.pop(name) for name in ("took_ns",) if name in data})
    return ProbeAnswer(data, took.took_ns, refusal)


def _json_object(where: str, line: str) -> dict[str, object]:
    try:
        data = json.loads(line, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise ReplyNotUnderstood(f"{where}: the answer is not JSON: {_quoted(line)}") from error
    if not isinstance(data, dict):
        raise ReplyNotUnderstood(f"{where}: the answer is not a JSON object: {_quoted(line)}")
    return data


def read_reply(cls: type[T], where: str, data: Mapping[str, object]) -> T:
    """Make a reply from the fields of an answer; ``where`` names the phone and the command in errors.

    Raises ReplyNotUnderstood for a field that is missing, unknown, of another type or out of range.
    """
    return cast(T, _object(cls, data, where, ""))


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a field is there twice")
    return found


def _quoted(line: str) -> str:
    """The first characters of a line, fit to be shown on a terminal."""
    return f"{clean(line[:_QUOTED])!r}{'...' if len(line) > _QUOTED else ''}"


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _object(cls: Any, data: object, where: str, prefix: str) -> object:
    if not isinstance(data, Mapping):
        raise _wrong(where, prefix, "an object", data)
    known = _hints(cls)
    for name in data:
        if name not in known:
            raise ReplyNotUnderstood(f"{where}: {_path(prefix, name)}: unknown field")
    values = {}
    for field in fields(cls):
        if field.name in data:
            values[field.name] = _value(known[field.name], data[field.name], where, _path(prefix, field.name))
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ReplyNotUnderstood(f"{where}: {_path(prefix, field.name)}: missing field")
    return cls(**values)


def _array(cls: Any, data: object, where: str, path: str) -> object:
    """A dataclass from its fields in order."""
    known = _hints(cls)
    if not isinstance(data, list) or len(data) != len(known):
        raise _wrong(where, path, f"an array of {len(known)}: {', '.join(known)}", data)
    pairs = zip(known.items(), data, strict=True)
    return cls(*(_value(hint, value, where, _path(path, name)) for (name, hint), value in pairs))


def _value(hint: Any, value: object, where: str, path: str) -> object:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        kind, note = arguments
        return _array(kind, value, where, path) if isinstance(note, AsArray) else _whole(value, note, where, path)
    if origin in (Union, UnionType):
        return None if value is None else _value(arguments[0], value, where, path)
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(where, path, "an array", value)
        return tuple(_value(arguments[0], item, where, f"{path}[{place}]") for place, item in enumerate(value))
    if origin is Mapping:
        if not isinstance(value, dict):
            raise _wrong(where, path, "an object", value)
        return {name: _value(arguments[1], item, where, _path(path, name)) for name, item in value.items()}
    if is_dataclass(hint):
        return _object(hint, value, where, path)
    return _scalar(hint, value, where, path)


def _scalar(hint: Any, value: object, where: str, path: str) -> object:
    if hint is int:
        return _whole(value, _UNSIGNED, where, path)
    if hint is bool:
        return bool(_whole(value, Between(0, 1), where, path))
    if hint is str:
        if not isinstance(value, str):
            raise _wrong(where, path, "text", value)
        return value
    raise TypeError(f"{path}: a reply cannot have a field of type {hint}")


def _whole(value: object, bounds: Between, where: str, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not bounds.low <= value <= bounds.high:
        raise _wrong(where, path, f"a whole number from {bounds.low} to {bounds.high}", value)
    return value


def _path(prefix: str, name: object) -> str:
    return f"{prefix}.{name}" if prefix else f"{name}"


def _wrong(where: str, path: str, expected: str, value: object) -> ReplyNotUnderstood:
    return ReplyNotUnderstood(f"{where}: {path}: expected {expected}, read {_quoted(json.dumps(value))}")
