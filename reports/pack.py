"""A run as a folder to send: the same figures, and nothing that tells whose phone, apps and computer it was."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from base.errors import ReportError
from base.text import clean
from base.units import NS_PER_S, NS_PER_US
from records.block_events import SUFFIX, Event, packed, parse_events, read_trace
from records.model import End, Provenance, RunResult, Session, TestOutcome, Turn
from records.raw import RAW_FOLDER, read_samples
from records.reading import StoredRun, load
from records.writing import RunFolder
from reports.neutral import NeutralWords
from reports.render import render_all

_APPS = ("app", "apps", "package", "packages")
_DEVICE = re.compile(r"--device[= ](\S+)")
_FLAGS = re.compile(r"[A-Z]{1,16}")
_TAGS = {"failed": "failure", "error": "error", "skipped": "skipped"}


@dataclass(frozen=True, slots=True)
class PackedRun:
    """Where a pack is, and what of the run is not in it, for people."""

    folder: Path
    left_out: Sequence[str]


def pack_runs(runs: Sequence[Path], into: Path) -> list[PackedRun]:
    """Write a new folder below ``into`` for each run, with the same words for the same phones and apps in all of them.

    Nothing is taken but what the records name, and no link is followed. Raises ReportError where one is no run, or
    where something was left in that tells whose it was: that pack is removed again.
    """
    stored, words = [load(path) for path in runs], NeutralWords()
    for path in (*runs, *(run.folder for run in stored), into):
        if path.is_symlink():
            raise ReportError(f"{path}: a link is not followed", hint=f"name the folder itself: {path.resolve()}")
    for run in stored:
        _learn(words, run)
    for run in stored:
        _learn_typed(words, run)
    return [_write(words, run, into) for run in stored]


def _learn(words: NeutralWords, run: StoredRun) -> None:
    """Take up what a run names: phone, build, apps, and users by their home."""
    session, facts = run.session, run.session.provenance
    _, _, name = session.run_id.partition("-")
    # A second folder of that name has a number behind it.
    others = {name, re.sub(r"-\d+$", "", name)}
    is_profile = not others.isdisjoint((facts.profile, facts.device, "virtual"))
    words.learn_phone(facts.serial, *() if is_profile else sorted(others - {""}))
    words.learn_build(facts.build or "")
    for result in run.runs:
        for app in _apps(result.facts):
            words.learn_app(app)
    for text in (session.command, *session.requested, *(each.reason for each in run.outcomes)):
        words.learn_user(text)


def _learn_typed(words: NeutralWords, run: StoredRun) -> None:
    """Take up the phones of a command line, after all runs' own: most are these by another name."""
    facts = run.session.provenance
    named = [each.strip("'\"") for each in _DEVICE.findall(run.session.command)]
    for name in named:
        is_profile = "/" in name or name.endswith((".yaml", ".yml")) or name in ("virtual", facts.profile, facts.device)
        if not is_profile and not words.knows_phone(name):
            words.learn_phone(*((facts.serial, name) if len(named) == 1 else (name,)))


def _apps(value: Any, key: str = "") -> list[str]:
    if isinstance(value, str):
        return [value] if key in _APPS else []
    if isinstance(value, Mapping):
        return [app for name, each in value.items() for app in _apps(each, str(name))]
    return [app for each in value for app in _apps(each, key)] if isinstance(value, list) else []


def _write(words: NeutralWords, run: StoredRun, into: Path) -> PackedRun:
    folder = RunFolder.create(into, words.word("phone", run.session.provenance.serial) or "phone", _when(run.session))
    try:
        cleaner = _Cleaner(words, run, folder, list(map(words.foreign, run.problems)))
        folder.append(cleaner.session())
        for result in run.runs:
            folder.append(cleaner.result(result))
        outcomes = [cleaner.outcome(each) for each in run.outcomes]
        for outcome in outcomes:
            folder.append(outcome)
        if run.end is not None:
            folder.append(cleaner.end(run.end))
        folder.keep("junit.xml", _junit(outcomes))
        render_all(folder.path)
        _look_through(words, folder.path)
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    return PackedRun(folder.path, cleaner.left_out)


def _when(session: Session) -> datetime:
    try:
        found = datetime.fromisoformat(session.started_utc)
    except ValueError as error:
        raise ReportError(
            f"{session.run_id}: {session.started_utc!r} is no time", hint="see docs/results.md"
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@dataclass
class _Cleaner:
    """Makes the records of a pack from those of a run, and writes their raw files anew, each once."""

    words: NeutralWords
    run: StoredRun
    folder: RunFolder
    left_out: list[str] = field(default_factory=list)
    written: dict[str, str] = field(default_factory=dict)

    def session(self) -> Session:
        was, typed = self.run.session, self.words.typed
        return replace(
            was, run_id=self.folder.run_id, plan=typed(was.plan),
            requested=[typed(each) for each in was.requested], command=typed(was.command),
            provenance=self._provenance(was.provenance),
        )  # fmt: skip

    def result(self, was: RunResult) -> RunResult:
        known, foreign = self.words.known, self.words.foreign
        facts = self._tree(was.facts, foreign)
        events = was.facts.get("events")
        if isinstance(events, list) and all(isinstance(name, str) for name in events):
            facts["events"] = [self._raw(name, was.test) for name in events]
        return replace(
            was, test=known(was.test), title=foreign(was.title), params=self._tree(was.params, known), facts=facts,
            metrics={known(name): replace(each, unit=known(each.unit)) for name, each in was.metrics.items()},
            warmups={known(name): replace(each, unit=known(each.unit)) for name, each in was.warmups.items()},
            raw={known(name): self._raw(file, was.test) for name, file in was.raw.items()},
            checks=self._tree(was.checks, foreign), turns=[self._turn(turn) for turn in was.turns],
        )  # fmt: skip

    def outcome(self, was: TestOutcome) -> TestOutcome:
        foreign = self.words.foreign
        return replace(
            was, test=foreign(was.test), title=foreign(was.title), outcome=foreign(was.outcome),
            reason=foreign(was.reason),
        )  # fmt: skip

    def end(self, was: End) -> End:
        foreign = self.words.foreign
        return replace(
            was, ended_utc=foreign(was.ended_utc), facts=self._tree(was.facts, foreign),
            wall_time_s=self._tree(was.wall_time_s, foreign),
        )  # fmt: skip

    def _provenance(self, was: Provenance) -> Provenance:
        """Everything that two runs are compared by stays, but for the words; of the computer, its numbers."""
        made = {each.name: self._tree(getattr(was, each.name), self.words.known) for each in fields(was)}
        made["serial"] = self.words.word("phone", was.serial)
        made["build"] = self.words.word("build", was.build) if was.build else was.build
        made["host"] = {key: value for key, value in was.host.items() if isinstance(value, int | float)}
        return Provenance(**made)

    def _turn(self, was: Turn) -> Turn:
        return replace(was, disturbed=[self.words.foreign(why) for why in was.disturbed])

    def _tree(self, value: Any, text: Callable[[str], str], key: str = "") -> Any:
        if isinstance(value, str):
            return self.words.word("app", value) if key in _APPS else text(value)
        if isinstance(value, Mapping):
            made: dict[str, Any] = {}
            for name, each in value.items():
                word = text(str(name))
                while word in made:  # two texts that are one without their names
                    word += " (another)"
                made[word] = self._tree(each, text, str(name))
            return made
        return [self._tree(each, text, key) for each in value] if isinstance(value, list | tuple) else value

    def _raw(self, name: str, test: str) -> str:
        """Write a raw file anew from its numbers; return its name in the pack, also where it cannot be read."""
        if name not in self.written:
            is_trace = name.endswith(SUFFIX)
            stem = self.words.known(Path(name).name.removesuffix(SUFFIX if is_trace else ".npy"))
            try:
                _refuse_links(self.run.folder, name)
                if is_trace:
                    text = "".join(map(self._event, parse_events(read_trace(self.run.folder, name))))
                    self.written[name] = self.folder.save_trace(stem, packed(text))
                else:
                    self.written[name] = self.folder.save_raw(stem, read_samples(self.run.folder, name, test))
            except ReportError as error:
                self.written[name] = f"{RAW_FOLDER}/{stem}{SUFFIX if is_trace else '.npy'}"
                self.left_out.append(self.words.foreign(str(error)))
        return self.written[name]

    def _event(self, event: Event) -> str:
        """One line as the kernel prints it, from what was read of it alone: a task may have an app's name."""
        seconds, ns = divmod(event.ns, NS_PER_S)
        flags = event.flags if _FLAGS.fullmatch(event.flags) else "N"
        what = f"{'issue: ' if event.issue else 'complete: '}{event.disk.replace(':', ',')} {flags} "
        size = f"{event.sectors * 512} () " if event.issue else "() "
        return (
            f"task-{event.tid} [{event.cpu:03}] ..... {seconds}.{ns // NS_PER_US:06}: block_rq_{what}{size}"
            f"{event.sector} + {event.sectors} [{self.words.task(event.tail)}]\n"
        )


def _refuse_links(folder: Path, name: str) -> None:
    path = folder
    for part in Path(name).parts:
        path = path / part
        if path.is_symlink():
            raise ReportError(f"{name}: a link is not followed", hint="copy the file itself into the run's folder")


def _junit(outcomes: Sequence[TestOutcome]) -> str:
    suite = ET.Element("testsuite", name="zram writeback", tests=str(len(outcomes)))
    counted = [_TAGS.get(each.outcome, "") for each in outcomes]
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(counted.count(tag)))
    for outcome, tag in zip(outcomes, counted, strict=True):
        case = ET.SubElement(suite, "testcase", name=clean(outcome.test), time=f"{outcome.seconds:.3f}")
        if tag:
            ET.SubElement(case, tag, message=clean(outcome.reason))
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _look_through(words: NeutralWords, folder: Path) -> None:
    """Look at every byte once more, whatever wrote it; arrays were written from numbers."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            content = b"" if name.endswith(".npy") else path.read_bytes()
            text = (gzip.decompress(content) if name.endswith(".gz") else content).decode("utf-8", errors="replace")
            if found := words.left_in(f"{name}\n{text}"):
                raise ReportError(
                    f"{path.relative_to(folder)}: {found!r} is still in it; the pack was removed",
                    hint="send the figures alone (report.csv), and report this with the word",
                )
