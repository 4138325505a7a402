"""Neutral words in place of what tells whose phone, apps and computer it was: the same word for the same thing."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# A word that was given already: a pack may be packed again.
_GIVEN = re.compile(r"(?:phone|build|app|path|user|host|task|address)-\d+")
_FINGERPRINT = re.compile(r"[^/]+/[^/]+/[^/:]+:[^/]+/[^/]+/(?P<incremental>[^/:]+):.+")
# What the phone itself has, on every phone alike; all other paths may be the computer's.
_PHONES_OWN = re.compile(
    r"/(?:proc|sys|system|vendor|metadata|dev/(?!shm)|data/(?:per_boot|local/tmp/zram-writeback-lab))\b"
)
_PATH = re.compile(r"(?<![\w.~/])(?:~[\w-]*|\.{1,2})?/+[\w.~@+-][^\s'\"`,;:()\[\]{}<>|]*")
_RELATIVE = re.compile(r"(?<![^\s='\"])(?!\./lab\b|suites/)[\w.~@+-]+/[^\s'\"]*")
_FILE_VALUE = re.compile(r"(?<==)[^\s,=]+\.(?:patch|ko|yaml|yml)\b")
_FOLDER_OPTION = re.compile(r"(?<=--)(results|junit-?xml|basetemp|rootdir|confcutdir)([= ])(\S+)")
_KEPT_ENDING = re.compile(r"\.(?:py|yaml|yml|patch|ko|jsonl)$")
_HOME = re.compile(r"/(?:home|Users)/([^/\s'\"]+)")
_MAIL = re.compile(r"[\w.+-]+@[A-Za-z][\w.-]*")
_ADDRESS = re.compile(
    r"(?<![\w.])(?:\d{1,3}(?:\.\d{1,3}){3}(?:[:_]\d+)?|(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2})(?![\w.])"
)
# Three names with dots between them, or two that begin as most packages do; not the lab's own modules.
_PACKAGE = re.compile(
    r"(?<![\w.-])(?!(?:suites|tests|workloads|devices|records|reports|commands|base|farm)\.)"
    r"(?:(?:com|org|net|io|android)\.\w+|[A-Za-z]\w*\.\w+\.[A-Za-z]\w*)(?:\.\w+)*"
)
# A task's name is the end of an app's, where the kernel's log tells of an app.
_LOGGED_TASK = re.compile(
    r"(?:(?<=\btask )|(?<=\bComm: )|(?<=\bcomm=))\S+?(?=[:\s]|$)|(?<=Killed process )\d+ \([^)]*\)"
)
_KNOWN_TASK = re.compile(
    r"-?\d+|<idle>|probe|kworker/[\w:+.-]*|(?:loop|kswapd|swapper/|ksoftirqd/)\d+|(?:jbd2/|f2fs_)[\w:+.-]*|"
)
_LONGEST_TASK = 15


class NeutralWords:
    """What is known of phones, apps and computers, and the word for each: ``phone-1``, ``app-3``.

    Runs that share it may be compared: two phones have two words.
    """

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], str] = {}
        self._known: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None
        self._names = dict(_of_this_computer())

    def word(self, kind: str, text: str) -> str:
        """Return the word for a thing of this kind, which is given once; nothing for nothing."""
        if not text:
            return text
        number = 1 + len({word for (known, _), word in self._given.items() if known == kind})
        return self._given.setdefault((kind, _plain(text)), f"{kind}-{number}")

    def learn_phone(self, serial: str, *others: str) -> None:
        """Take up a phone's serial, and what else it is called. A word of letters alone is not looked for."""
        word = self.word("phone", serial)
        for each in (serial, *others):
            self._given.setdefault(("phone", _plain(each)), word)
            if len(each) >= 4 and re.search(r"[\d-]", each):
                self._learn(each, word)

    def knows_phone(self, serial: str) -> bool:
        """Say whether that is what a phone is called."""
        return ("phone", _plain(serial)) in self._given

    def learn_build(self, fingerprint: str) -> None:
        """Take up a build's fingerprint, and the number of the build within it."""
        word = self.word("build", fingerprint)
        if found := _FINGERPRINT.fullmatch(fingerprint):
            self._learn(fingerprint, word)
            if len(found["incremental"]) >= 5:
                self._learn(found["incremental"], word)

    def learn_app(self, package: str) -> None:
        """Take up an app, also as the kernel calls its tasks: by 15 characters of its name."""
        word = self.word("app", package)
        if "." in package:
            for each in (package, package[:_LONGEST_TASK], package[-_LONGEST_TASK:]):
                self._learn(each, word)

    def learn_user(self, text: str) -> None:
        """Take up the users whose home a text names."""
        for name in _HOME.findall(text):
            self._names.setdefault(name.lower(), self.word("user", name))

    def known(self, text: str) -> str:
        """Replace what is known of phones and apps; for text whose other words must stay."""
        if self._pattern is None:
            # Longest first; punctuation differs where a name became the name of a file.
            parts = (
                r"[^A-Za-z0-9\s]".join(map(re.escape, re.split(r"[^A-Za-z0-9]", each)))
                for each in sorted(self._known, key=len, reverse=True)
            )
            self._pattern = re.compile(
                rf"(?<![A-Za-z0-9])(?:{'|'.join(parts) or '(?!)'})(?![A-Za-z0-9])", re.IGNORECASE
            )
        return self._pattern.sub(lambda match: self._known[_plain(match[0])], text)

    def foreign(self, text: str) -> str:
        """Replace in a text that others wrote also what looks like a path, package, address, task, user or computer."""
        text = _PATH.sub(self._path, _FILE_VALUE.sub(self._path, self.known(text)))
        text = _LOGGED_TASK.sub(lambda match: self.task(match[0]), text)
        text = _MAIL.sub(lambda match: f"{self.word('user', match[0])}@host", text)
        text = _ADDRESS.sub(lambda match: self.word("address", match[0]), text)
        text = _PACKAGE.sub(lambda match: self.word("app", match[0]), text)
        for name, word in self._names.items():
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", word, text, flags=re.IGNORECASE)
        return text

    def typed(self, text: str) -> str:
        """Replace in what somebody typed also paths that are told from where they were, and folders of options."""
        text = _FOLDER_OPTION.sub(lambda match: f"{match[1]}{match[2]}{self.word('path', match[3])}", self.known(text))
        return self.foreign(_RELATIVE.sub(self._path, _PATH.sub(self._path, text)))

    def task(self, name: str) -> str:
        """Return what a task is called: the kernel's own and the probe keep their names."""
        return name if _KNOWN_TASK.fullmatch(name) else self.word("task", name)

    def left_in(self, text: str) -> str:
        """Return the first thing in a text that should have been replaced, or nothing."""
        self.known("")
        found = self._pattern.search(text) if self._pattern else None
        at_home = (
            re.search(rf"{re.escape(str(Path.home()))}(?![A-Za-z0-9])", text) if len(str(Path.home())) > 1 else None
        )
        return found[0] if found else at_home[0] if at_home else ""

    def _learn(self, text: str, word: str) -> None:
        if not _GIVEN.fullmatch(text):
            self._known.setdefault(_plain(text), word)
            self._pattern = None

    def _path(self, match: re.Match[str]) -> str:
        path = match[0]
        if _PHONES_OWN.match(path) or path.startswith(("./lab", "./suites")) or _GIVEN.match(path):
            return path
        ending = _KEPT_ENDING.search(path)
        return self.word("path", path) + (ending[0] if ending else "")


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "_", text.lower())


def _of_this_computer() -> Iterator[tuple[str, str]]:
    """Who packs, and where: mostly who measured. What everybody is called tells of nobody."""
    host = socket.gethostname()
    names = [(host, "host"), (host.partition(".")[0], "host"), (Path.home().name, "user")]
    with suppress(OSError, KeyError):  # a user that has no name here
        names.append((getpass.getuser(), "user"))
    yield from ((name.lower(), word) for name, word in names if name and name not in ("root", "localhost", "home"))
