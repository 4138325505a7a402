"""What is known of each phone from night to night: good, suspect or bad, why, since when, and how often it was lost.

One file for this user's farms, replaced as a whole, and beside it a log of who changed what.
"""

from __future__ import annotations

import getpass
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from base.errors import EnvironmentRefused, ProfileError
from base.files import append_line, replace_file
from base.locks import locked, try_lock
from base.paths import private_folder, state_dir

# So many nights with a failure of the lab, within so many days, and a person is needed.
_NIGHTS, _DAYS = 3, 14
_DURATIONS = 7


class State(StrEnum):
    """Whether a night may measure a phone: yes; after a look at it; not before somebody acts."""

    good = "good"
    suspect = "suspect"
    bad = "bad"


@dataclass(frozen=True, slots=True)
class LabFailure:
    """A night in which the lab failed with this phone."""

    night: str
    when: str
    reason: str


@dataclass(frozen=True, slots=True)
class LastMeasured:
    """The last run of a night that measured the phone; ``folder`` is the run's, ``night`` the night's."""

    night: str
    plan: str
    folder: str
    status: int
    when: str


@dataclass(slots=True)
class Standing:
    """One phone. ``times`` is how often it was quarantined; ``seconds`` maps a plan to how long its last runs took."""

    state: State = State.good
    reason: str = ""
    who: str = ""
    when: str = ""
    run: str = ""
    times: int = 0
    failures: list[LabFailure] = field(default_factory=list)
    measured: LastMeasured | None = None
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def lost(self, night: str, reason: str, run: str = "") -> None:
        """The lab failed with it in this night: suspect, and bad when that repeats."""
        now = datetime.now(UTC)
        recent = [each for each in self.failures if now - _time(each.when) < timedelta(days=_DAYS)]
        if not any(each.night == night for each in recent):
            recent.append(LabFailure(night, now.isoformat(timespec="seconds"), reason))
        self.failures = recent
        if len(recent) >= _NIGHTS:
            self.quarantined(f"lost {len(recent)} times in {len(recent)} nights, at last: {reason}", "nightly", run)
        elif self.state is not State.bad:
            self._set(State.suspect, reason, "nightly", run)

    def quarantined(self, reason: str, who: str, run: str = "") -> None:
        """A person must act."""
        if self.state is not State.bad:
            self.times += 1
        self._set(State.bad, reason, who, run)

    def passed(self) -> None:
        """It passed the look at it, or a run: no longer suspect. A bad one stays bad."""
        if self.state is State.suspect:
            self._set(State.good, "", "nightly", "")

    def released(self, reason: str, who: str) -> None:
        """A person says that it is good again; how often it was lost is forgotten, how often quarantined is not."""
        self.failures = []
        self._set(State.good, reason, who, "")

    def took(self, plan: str, seconds: float) -> None:
        """Remember how long a whole run took."""
        self.seconds[plan] = [*self.seconds.get(plan, []), round(seconds, 1)][-_DURATIONS:]

    def _set(self, state: State, reason: str, who: str, run: str) -> None:
        self.state, self.reason, self.who, self.run = state, reason, who, run
        self.when = datetime.now(UTC).isoformat(timespec="seconds")


_STORED = TypeAdapter(dict[str, Standing])


class Register:
    """The standing of all phones, in the state folder."""

    def __init__(self, folder: Path | None = None) -> None:
        """Raises EnvironmentRefused where others could write to the folder."""
        self.folder = folder or private_folder(state_dir() / "farm")
        self.file = self.folder / "phones.json"

    def read(self) -> Mapping[str, Standing]:
        """Return the standing of every phone that has one, by serial. Raises EnvironmentRefused for a damaged file."""
        try:
            return _STORED.validate_json(self.file.read_bytes())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise EnvironmentRefused(f"{self.file}: cannot be read: {error.strerror}") from error
        except ValidationError as error:
            raise EnvironmentRefused(
                f"{self.file}: damaged: {error.errors()[0]['msg']}",
                hint="look at it; audit.jsonl beside it says who changed what. Moved away, it is begun anew, "
                "with every phone good",
            ) from error

    def of(self, serial: str) -> Standing:
        """Return one phone's standing: good where nothing is known."""
        return self.read().get(serial) or Standing()

    @contextmanager
    def changing(self, serial: str, action: str, **facts: Any) -> Iterator[Standing]:
        """Change one phone's standing in a scope; what came of it is logged. Raises EnvironmentRefused."""
        try:
            with locked(self.folder / "phones.lock"):
                phones = dict(self.read())
                standing = phones.setdefault(serial, Standing())
                before = standing.state
                yield standing
                replace_file(self.file, _STORED.dump_json(phones, indent=1) + b"\n")
                if before is not standing.state or action in ("quarantine", "release"):
                    self._audit(serial, action, before, standing, facts)
        except OSError as error:
            raise EnvironmentRefused(f"{self.folder}: cannot be written: {error.strerror}") from error

    def claim(self, serial: str) -> int | None:
        """Take a phone for a night: a descriptor that holds it until it is closed, or None where another one has it.

        A run that inherits the descriptor holds the phone until it has put it back, even when its night was killed.
        """
        folder = self.folder / "claims"
        folder.mkdir(mode=0o700, exist_ok=True)
        return try_lock(folder / safe_name(serial))

    def is_claimed(self, serial: str) -> bool:
        """Whether a night, or the run that it left, has the phone now."""
        claim = self.claim(serial)
        if claim is not None:
            os.close(claim)
        return claim is None

    def _audit(self, serial: str, action: str, before: State, now: Standing, facts: Mapping[str, Any]) -> None:
        entry = {
            "when": now.when, "who": user(), "action": action, "phone": serial, "from": before, "to": now.state,
            "reason": now.reason, **facts,
        }  # fmt: skip
        append_line(self.folder / "audit.jsonl", json.dumps(entry).encode())


def plain(standing: Standing) -> dict[str, Any]:
    """Return what is known of a phone as JSON knows it."""
    return asdict(standing)


def parse_reason(text: str | None) -> str:
    """Return the reason that somebody gave. Raises ProfileError without one."""
    if not text or not text.strip():
        raise ProfileError("--reason: say why, in a few words", hint="for example --reason 'battery swollen'")
    return text.strip()


def user() -> str:
    """Who does this, on which account."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.geteuid()}"


def safe_name(serial: str) -> str:
    """Name a file or folder after a phone: names of phones that differ, differ."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", serial)
    if plain == serial and not serial.startswith(".") and len(serial) <= 60:
        return serial
    return f"{plain[:40].lstrip('.')}-{sha256(serial.encode(errors='surrogatepass')).hexdigest()[:8]}"


def _time(text: str) -> datetime:
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return then if then.tzinfo else then.replace(tzinfo=UTC)
