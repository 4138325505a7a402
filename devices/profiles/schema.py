"""``python -m devices.profiles.schema``: writes docs/profile.schema.json and the table of keys in docs/profiles.md.

Both are made from the models, so that editors, documentation and checks cannot disagree.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from base.documents import with_part
from base.paths import REPO
from base.units import DURATION_PATTERN, SHARE_PATTERN, SIZE_PATTERN
from devices.profiles.profile import Profile
from devices.profiles.what_is_measured import SuiteName

SCHEMA_FILE = REPO / "docs" / "profile.schema.json"
DOCS_FILE = REPO / "docs" / "profiles.md"
_COMMAND = "python -m devices.profiles.schema"


def schema() -> dict[str, Any]:
    """JSON Schema of a profile's file, with defaults spelled as a profile spells them."""
    made = Profile.model_json_schema()
    for model in _models(Profile):
        properties = made["properties"] if model is Profile else made["$defs"][model.__name__]["properties"]
        defaults = model.model_construct(name="").model_dump(mode="json")
        for name, field in properties.items():
            field.pop("title", None)
            if "default" in field:
                field["default"] = defaults[name]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "Profile of a phone"}


def schema_text() -> str:
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def key_tables() -> str:
    """Markdown: one table per section, in the order of the models."""
    made = schema()
    top = {name: field for name, field in made["properties"].items() if _section(field, made) is None}
    parts = [_table("Top level", "", top, made)]
    parts += list(_section_tables("", made["properties"], made))
    return "\n".join(parts)


def with_key_tables(document: str) -> str:
    """The document with the tables between its two markers made anew."""
    return with_part(document, "keys", _COMMAND, key_tables())


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The model and every model within it, each once."""
    found = {model: None}
    waiting: list[Any] = [field.annotation for field in model.model_fields.values()]
    while waiting:
        annotation = waiting.pop()
        waiting += typing.get_args(annotation)
        is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
        if is_model and annotation not in found:
            found[annotation] = None
            waiting += [field.annotation for field in annotation.model_fields.values()]
    return iter(found)


def _section_tables(prefix: str, fields: dict[str, Any], made: dict[str, Any]) -> Iterator[str]:
    for name, field in fields.items():
        section = _section(field, made)
        if section is None:
            continue
        key = f"{prefix}{name}"
        inner = section["properties"]
        nested = [sub for sub in inner.values() if _section(sub, made) is not None]
        if len(nested) < len(inner):
            yield _table(f"`{key}`", section.get("description", ""), inner, made)
        elif key == "connection":
            yield from _section_tables(f"{key}.", inner, made)


def _table(title: str, about: str, fields: dict[str, Any], made: dict[str, Any]) -> str:
    rows = [f"### {title}", "", *([about, ""] if about else [])]
    rows += ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in fields.items():
        meaning = field.get("description", "").replace("|", "\\|")
        rows.append(f"| `{name}` | {_type(field, made)} | {_default(field)} | {meaning} |")
    return "\n".join([*rows, ""])


def _default(field: dict[str, Any]) -> str:
    if "default" not in field:
        return "required"
    match field["default"]:
        case None:
            return "none"
        case list() as values if len(values) == len(SuiteName) and set(values) == set(SuiteName):
            return "all"
        case list() as values:
            return f"`[{', '.join(map(str, values))}]`"
        case bool() as value:
            return f"`{str(value).lower()}`"
        case float() as value:
            return f"`{value:g}`"
        case value:
            return f"`{value}`"


def _section(field: dict[str, Any], made: dict[str, Any]) -> dict[str, Any] | None:
    """The model that a field holds, if it holds one."""
    for candidate in (field, *field.get("anyOf", ())):
        target = _target(candidate, made)
        if "properties" in target:
            return target
    return None


def _target(field: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    reference = field.get("$ref")
    target: dict[str, Any] = made["$defs"][reference.rpartition("/")[2]] if reference else field
    return target


def _type(field: dict[str, Any], made: dict[str, Any]) -> str:
    """A field's type in words, with its unit or range."""
    target = _target(field, made)
    branches = [branch for branch in target.get("anyOf") or target.get("oneOf") or () if branch.get("type") != "null"]
    patterns = [branch.get("pattern") for branch in branches or [target]]
    if SIZE_PATTERN in patterns:
        return "size"
    if DURATION_PATTERN in patterns:
        return "duration"
    if SHARE_PATTERN in patterns:
        return "per cent"
    if branches:
        return " or ".join(_type(branch, made) for branch in branches)
    if "enum" in target:
        return " \\| ".join(f"`{word}`" for word in target["enum"] if isinstance(word, str))
    if "const" in target:
        return f"`{target['const']}`"
    match target["type"]:
        case "array":
            return f"list of {_type(target['items'], made)}"
        case "integer" | "number" as kind:
            unit = target.get("x-unit", "")
            name = "whole number" if kind == "integer" else "number"
            return f"{name}, {target['minimum']} to {target['maximum']}{' ' if unit else ''}{unit}"
        case "boolean":
            return "`true` \\| `false`"
        case _:
            return "text"


def main() -> None:
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
    DOCS_FILE.write_text(with_key_tables(DOCS_FILE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
