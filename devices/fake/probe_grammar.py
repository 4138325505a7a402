"""The grammar of the probe's commands, with the keys and the words of probe/commands.c and probe/request.c."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from devices.fake.android import Refused
from devices.zram import errno_of

# What musl says, where it differs from what the phone's own programs say.
_MUSL = {
    "EBUSY": "Resource busy", "ERANGE": "Result not representable", "EALREADY": "Operation already in progress",
    "EINVAL": "Invalid argument", "ENOENT": "No such file or directory", "EIO": "I/O error",
    "ENOSPC": "No space left on device", "EEXIST": "File exists", "ENOMEM": "Out of memory",
    "ENOTBLK": "Block device required", "ENODEV": "No such device", "ENOTTY": "Not a tty",
    "EOPNOTSUPP": "Not supported", "EACCES": "Permission denied", "EPERM": "Operation not permitted",
}  # fmt: skip
# Not in the table of names of probe/reply.c.
_NUMBERS = {"EALREADY": "E114"}
_MOST_WORDS, _LINE_BYTES, _MOST_KEYS = 32, 4096, 16
_NUMBER_MAX = 2**64 - 1


class ProbeRefusal(Exception):
    """A command failed: the errno's name or "", what the probe says, and the fields that were known by then."""

    def __init__(self, errno: str, text: str, fields: Mapping[str, object] | None = None) -> None:
        super().__init__(f"{text}: {_MUSL[errno]}" if errno else text)
        self.errno, self.fields = _NUMBERS.get(errno, errno), dict(fields or {})

    @classmethod
    def of_kernel(cls, refused: Refused, text: str, fields: Mapping[str, object] | None = None) -> ProbeRefusal:
        """What the fake kernel refused."""
        return cls(errno_of(str(refused)) or "EINVAL", text, fields)


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a command; ``choices`` "" for any text."""

    name: str
    kind: str
    required: bool
    choices: str = ""


def _keys(text: str) -> tuple[Key, ...]:
    """``name!`` is required; ``=number``, ``=flag`` or ``=a|b``, else any text."""
    keys = []
    for word in text.split():
        name, _, kind = word.partition("=")
        choices = kind if "|" in kind else ""
        keys.append(Key(name.rstrip("!"), "text" if choices else kind or "text", name.endswith("!"), choices))
    return tuple(keys)


_SELECTION = "path! lo!=number hi!=number pick=number pick_seed=number"
_CONTENT = "mix! seed!=number"
_LASTING = "zram!=number duration_s!=number pokes"
_THREADS = "readers=number writers=number freers=number"
_ORDER = "random|sequential"
COMMANDS: Sequence[tuple[str, tuple[Key, ...]]] = [
    (name, _keys(keys))
    for name, keys in (
        ("hello", ""),
        ("describe", ""),
        ("overhead", "samples!=number"),
        ("loop-attach", "file! size!=number direct!=flag block!=number allocate!=flag pin!=flag"),
        ("loop-detach", "file! remove=flag"),
        ("mapped-attach", "file! size!=number"),
        ("mapped-detach", "file! remove=flag"),
        ("dm-below", "dev!"),
        ("fill", f"name! bytes!=number {_CONTENT}"),
        ("fill", f"{_SELECTION} {_CONTENT}"),
        ("verify", "name!"),
        ("verify", f"{_SELECTION} {_CONTENT}"),
        ("corrupt", "name! page!=number"),
        ("corrupt", "path! page!=number"),
        ("free", _SELECTION),
        ("drop", "name!"),
        ("pageout", "name! tries=number"),
        ("slots", "name! out"),
        ("writeback", f"name! zram!=number pick=number pick_seed=number order={_ORDER} "
                      "grammar=auto|page_indexes|page_index"),
        ("write-timed", "path! value! zram=number disks sample=flag"),
        ("touch", f"name! order!={_ORDER} seed!=number out! pages=number zram=number io=default|realtime"),
        ("race", "name! victim! zram!=number disk! seed!=number out! grammar=page_indexes|page_index "
                 "writer=write|none|burn burn_percent=number"),
        ("reads", "name! zram!=number files! out! reads!=number pause_us!=number call_pages!=number seed!=number "
                  "grammar=page_indexes|page_index writer=write|none"),
        ("hammer", f"path! pages!=number {_CONTENT} {_LASTING} {_THREADS} clashers=number piece=number"),
        ("hammer", f"name! {_LASTING} {_THREADS} pageouts=number"),
        ("poke", "zram!=number duration_s!=number pokes! pages=number"),
        ("meanwhile", "zram!=number first! disk! others!"),
        ("blocks", "path!"),
        ("fs-shutdown", "path!"),
        ("load-start", "kind!=cpu|random_read|sequential_write threads!=number limit_s!=number file size=number "
                       "bytes=number rate=number"),
        ("load-stop", ""),
        ("extents", "file! out!"),
        ("control", "file"),
        ("kworkers", ""),
        ("renice", "pids! minus!=number"),
        ("apps-make", f"count!=number anonymous!=number file_backed!=number working_set!=number {_CONTENT} "
                      f"order!={_ORDER} folder! compact_ms=number"),
        ("apps-switch", "sequence! dwell_ms!=number backing"),
        ("apps-end", ""),
        ("sample-start", "zram!=number interval_ms!=number duration_s!=number disk backing"),
        ("sample-stop", "out!"),
        ("daemon-start", "zram!=number trigger!=idle|background|periodic limit_4k!=number total_4k=number "
                         "age_s=number delay_ms=number period_ms=number"),
        ("daemon-stop", "out!"),
        ("daemon-front", "pid!=number"),
        ("daemon-pause", ""),
    )
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """A command whose keys were checked. ``form`` tells commands of one name apart: their first key."""

    name: str
    form: str
    texts: Mapping[str, str]

    def __contains__(self, key: str) -> bool:
        return key in self.texts

    def text(self, key: str, otherwise: str = "") -> str:
        return self.texts.get(key, otherwise)

    def number(self, key: str, otherwise: int = 0) -> int:
        return int(self.texts.get(key, otherwise))


def parse(line: str) -> Call:
    """Return the command of a line. Raises ProbeRefusal for what the probe refuses before it does anything."""
    if len(line.encode()) >= _LINE_BYTES:
        raise ProbeRefusal("", f"a line of more than {_LINE_BYTES - 1} bytes")
    name, *words = [word for word in re.split(r"[ \t\r]+", line) if word] or [""]
    if not name:
        raise ProbeRefusal("", "empty command")
    if len(words) >= _MOST_WORDS:
        raise ProbeRefusal("", f"{name}: too many words")
    try:
        texts = _split(words)
        form, keys = _choose(name, texts)
        _check(texts, keys)
    except _Grammar as wrong:
        raise ProbeRefusal("", f"{name:.64}: {wrong}") from wrong
    return Call(name, form, texts)


class _Grammar(Exception):
    """What is wrong with the words behind the command."""


def _split(words: Sequence[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise _Grammar(f"{word}: not of the form key=value")
        if key in texts:
            raise _Grammar(f"{key}: given twice")
        if len(texts) == _MOST_KEYS:
            raise _Grammar(f"{key}: more keys than any command has")
        texts[key] = text
    return texts


def _choose(name: str, texts: Mapping[str, str]) -> tuple[str, tuple[Key, ...]]:
    forms = [keys for known, keys in COMMANDS if known == name]
    if not forms:
        raise _Grammar("unknown command")
    firsts = [keys[0].name if keys else "" for keys in forms]
    for first, keys in zip(firsts, forms, strict=True):
        if first in texts:
            return first, keys
    if len(forms) > 1:
        raise _Grammar(f"missing key: {firsts[0]}= or {firsts[1]}=")
    return firsts[0], forms[0]


def _check(texts: Mapping[str, str], keys: Sequence[Key]) -> None:
    known = {key.name: key for key in keys}
    for name, text in texts.items():
        if name not in known:
            raise _Grammar(f"{name}: unknown key")
        _check_value(known[name], text)
    for key in keys:
        if key.required and key.name not in texts:
            raise _Grammar(f"{key.name}: missing key")


def _check_value(key: Key, text: str) -> None:
    if key.kind == "text":
        if not text:
            raise _Grammar(f"{key.name}: empty")
        if key.choices and text not in key.choices.split("|"):
            raise _Grammar(f"{key.name}={text}: expected {key.choices}")
        return
    if not re.fullmatch(r"[0-9]+", text) or int(text) > _NUMBER_MAX:
        raise _Grammar(f"{key.name}={text}: expected a whole decimal number")
    if key.kind == "flag" and int(text) > 1:
        raise _Grammar(f"{key.name}={text}: expected 0|1")
