"""Profiles as text: nested YAML with a comment beside each value."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Comment = Callable[[str], str]

# Words that YAML takes as they are, and that do not turn into something else.
_PLAIN_WORD = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*")
_NOT_TEXT = {"yes", "no", "on", "off", "true", "false", "null", "y", "n"}
_WIDEST = 60


def spelled(values: Mapping[str, Any], comment: Comment) -> str:
    """The values as YAML that a profile may hold; ``comment`` is asked with each dotted key. None is left out."""
    rows = list(_rows(values, comment, "", 0))
    width = min(max((len(text) for text, _ in rows), default=0), _WIDEST)
    return "".join(f"{text:<{width}}  # {remark}\n" if remark else f"{text}\n" for text, remark in rows)


def _rows(values: Mapping[str, Any], comment: Comment, prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        key, indent = f"{prefix}{name}", "  " * depth
        if isinstance(value, dict) and value:
            inner = list(_rows(value, comment, f"{key}.", depth + 1))
            if inner:
                yield f"{indent}{name}:", ""
                yield from inner
        elif value is not None:
            yield f"{indent}{name}: {_flow(value)}", comment(key)


def _flow(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case list():
            return f"[{', '.join(map(_flow, value))}]"
        case dict():
            return "{}"
        case float():
            return f"{value:g}"
        case str() if not _PLAIN_WORD.fullmatch(value) or value.lower() in _NOT_TEXT:
            # A size needs no quotes; JSON's are YAML's too.
            return value if re.fullmatch(r"[0-9.]+[A-Za-z]+", value) else json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)
