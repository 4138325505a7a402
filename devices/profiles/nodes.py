"""A YAML file as a tree that knows where each value was written.

Every scalar stays the text that was written; its type comes from the key it belongs to. So ``kernel: 7.10``, a serial
``0123`` or a name ``no`` mean what they say, whatever YAML 1.1 makes of them.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.reader import ReaderError

from base.units import shown

_TAG = "tag:yaml.org,2002:"
_NULL, _MERGE, _STR = f"{_TAG}null", f"{_TAG}merge", f"{_TAG}str"
_PLAIN_TAGS = frozenset({_STR, *(f"{_TAG}{kind}" for kind in ("int", "float", "bool"))})
_COLLECTION_TAGS = frozenset({f"{_TAG}map", f"{_TAG}seq"})

_SECOND_DOCUMENT = "expected a single document in the stream"
_MAX_FILE_BYTES = 1 << 20
_MAX_DEPTH = 40
# Aliases can make a small file stand for billions of values.
_MAX_NODES = 10_000


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a file; ``line`` counts from 1, 0 is the file as such."""

    file: Path
    line: int = 0

    def __str__(self) -> str:
        return f"{display(self.file)}:{self.line}" if self.line else display(self.file)


@dataclass(frozen=True, slots=True)
class Problem:
    """One line of a ProfileError."""

    where: Where
    message: str
    key: str = ""

    def __str__(self) -> str:
        return ": ".join(filter(None, (str(self.where), self.key, self.message)))


@dataclass(frozen=True, slots=True)
class Node:
    """A value, where it was written (its key's place) and under which dotted key."""

    value: str | list[Node] | dict[str, Node] | None
    where: Where
    key: str = ""

    @property
    def entries(self) -> Mapping[str, Node]:
        """What a mapping holds; nothing for any other value."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> Sequence[Node]:
        """What a list holds; nothing for any other value."""
        return self.value if isinstance(self.value, list) else ()

    def plain(self) -> Any:
        """The value as dicts, lists and texts, without its places."""
        match self.value:
            case dict() as entries:
                return {key: child.plain() for key, child in entries.items()}
            case list() as items:
                return [item.plain() for item in items]
            case scalar:
                return scalar


class Unreadable(Exception):
    """Nothing can be had from this file; ``problem`` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def display(path: Path) -> str:
    """The path as a message shows it: relative to the working directory where it lies below it."""
    try:
        text = str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        text = str(path)
    return text if text.isprintable() else repr(text)


def label(key: str) -> str:
    """A key as a message shows it: as it is, or quoted if it is no plain word."""
    return key if re.fullmatch(r"[\w-]{1,60}", key) else shown(key)


def read_tree(path: Path, problems: list[Problem], what: str = "profile") -> Node:
    """The file's mapping. What is wrong but leaves the rest readable is added to ``problems``.

    ``what`` the file is, in one word or two for messages. Raises Unreadable for the others: no such file, not UTF-8,
    not YAML, not a mapping.
    """
    text = _read_text(path, what)
    try:
        root = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        raise Unreadable(_syntax_problem(error, path, text)) from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Unreadable(Problem(Where(path, line), f"not text: control character {error.character:#04x}")) from error
    if root is None:
        raise Unreadable(Problem(Where(path, 1), f"empty; a {what} is a mapping with at least a name"))
    tree = _Converter(path, problems).convert(root, "", Where(path, 1))
    if not isinstance(tree.value, dict):
        where = Where(path, root.start_mark.line + 1)
        raise Unreadable(Problem(where, f"expected `key: value` lines at the top, not {describe(tree.value)}"))
    return tree


def describe(value: object) -> str:
    """What a value is, in words for a message."""
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            return shown(value)


def _read_text(path: Path, what: str) -> str:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise Unreadable(Problem(Where(path), f"a directory; expected a {what}'s YAML file"))
        if not stat.S_ISREG(mode):
            raise Unreadable(Problem(Where(path), f"not a regular file; expected a {what}'s YAML file"))
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise Unreadable(Problem(Where(path), "no such file")) from None
    except OSError as error:
        raise Unreadable(Problem(Where(path), f"cannot be read: {error.strerror}")) from error
    except ValueError as error:
        raise Unreadable(Problem(Where(path), f"not a path: {error}")) from error
    if len(data) > _MAX_FILE_BYTES:
        raise Unreadable(Problem(Where(path), f"larger than 1MiB; not a {what}"))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"not UTF-8 text (byte 0x{data[error.start]:02x})"
        raise Unreadable(Problem(Where(path, line), message)) from error


def _syntax_problem(error: yaml.MarkedYAMLError, path: Path, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    lines = text.splitlines()
    # A tab is met where it stands or, when it ended the value above, one line further down.
    for number in (line, line - 1):
        if 0 < number <= len(lines) and re.match(r" *\t\s*\S", lines[number - 1]):
            return Problem(Where(path, number), "tabs in the indentation; indent with spaces")
    if isinstance(error, ComposerError) and error.context == _SECOND_DOCUMENT:
        return Problem(Where(path, line), "a second document starts here; a file holds one profile")
    what = error.problem or "cannot be understood"
    context = f" ({_in_context(error, line)})" if error.context else ""
    return Problem(Where(path, line), f"not valid YAML: {what}{context}")


def _in_context(error: yaml.MarkedYAMLError, line: int) -> str:
    start = error.context_mark.line + 1 if error.context_mark else line
    return f"{error.context}" if start == line else f"{error.context} that starts on line {start}"


class _Loader(yaml.SafeLoader):
    """Composes nodes only: no value is built from a tag, and only "nothing" and merge keys are told from text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > _MAX_DEPTH and parent is not None:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=parent.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_Loader.yaml_implicit_resolvers = {
    first: kept
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    if (kept := [(tag, pattern) for tag, pattern in resolvers if tag in (_NULL, _MERGE)])
}


@dataclass(slots=True)
class _Converter:
    path: Path
    problems: list[Problem]
    count: int = 0
    open_nodes: set[int] = field(default_factory=set)

    def convert(self, node: yaml.Node, key: str, where: Where) -> Node:
        self.count += 1
        if self.count > _MAX_NODES:
            raise Unreadable(Problem(where, f"more than {_MAX_NODES} values; do aliases multiply?"))
        if isinstance(node, yaml.ScalarNode):
            return Node(self._scalar(node, key, where), where, key)
        if node.tag not in _COLLECTION_TAGS:
            self._refuse_tag(node, key, where)
        if id(node) in self.open_nodes:
            raise Unreadable(Problem(where, "an alias that contains itself", key))
        self.open_nodes.add(id(node))
        value: list[Node] | dict[str, Node]
        if isinstance(node, yaml.MappingNode):
            value = self._mapping(node, key)
        else:
            value = [self.convert(item, f"{key}[{i}]", self._where(item)) for i, item in enumerate(_items(node))]
        self.open_nodes.discard(id(node))
        return Node(value, where, key)

    def _mapping(self, node: yaml.MappingNode, prefix: str) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        for key_node, value_node in node.value:
            where = self._where(key_node)
            if key_node.tag == _MERGE:
                self.problems.append(Problem(where, "merge keys are not supported; use extends or plans", "<<"))
                continue
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == _NULL:
                self.problems.append(Problem(where, "a key must be a word", prefix))
                continue
            key = f"{prefix}.{label(key_node.value)}" if prefix else label(key_node.value)
            if (first := entries.get(key_node.value)) is not None:
                self.problems.append(Problem(where, f"given twice; first on line {first.where.line}", key))
                continue
            entries[key_node.value] = self.convert(value_node, key, where)
        return entries

    def _scalar(self, node: yaml.ScalarNode, key: str, where: Where) -> str | None:
        if node.tag == _NULL:
            return None
        if node.tag not in _PLAIN_TAGS:
            self._refuse_tag(node, key, where)
        return str(node.value)

    def _refuse_tag(self, node: yaml.Node, key: str, where: Where) -> None:
        tag = str(node.tag).replace(_TAG, "!!")
        self.problems.append(Problem(where, f"YAML tag {shown(tag)} is not allowed; expected a plain value", key))

    def _where(self, node: yaml.Node) -> Where:
        return Where(self.path, node.start_mark.line + 1)


def _items(node: yaml.Node) -> list[yaml.Node]:
    return list(node.value)
