"""Which journal is of which phone: the names of the files, and what the entries and the phone say.

Serial numbers repeat on cheap phones and on emulators, so a file that is named like this phone's may be another's. It
is this phone's if both name the same boot, or if the phone itself says that it was rebooted since.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from base.errors import RestoreFailed
from base.paths import private_folder, state_dir
from devices.journal import Entry, Journal, PhoneFacts
from devices.lease import Holder, held_by, lease_key

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True)
class PhoneNow:
    """What a phone says of itself; ``marked_boot`` is the boot in which a change was begun that is still pending."""

    facts: PhoneFacts
    boot_id: str
    marked_boot: str = ""

    def changed_by(self, entry: Entry) -> bool:
        """Whether what the entry would undo was done to this phone."""
        then = entry.phone
        if entry.boot_id in (self.boot_id, self.marked_boot):
            return then is None or (
                then.serialno == self.facts.serialno and (then.id == self.facts.id or then.serial == self.facts.serial)
            )
        return then == self.facts


def journal_folder() -> Path:
    """The folder of all journals. Raises EnvironmentRefused if others could put one there."""
    return private_folder(state_dir() / "journals")


def journal_path(serialno: str) -> Path:
    """Where the journal of a phone begins its search for a name; numbers that differ have names that differ."""
    return journal_folder() / f"{_file_name(serialno)}.jsonl"


def all_journals() -> list[Path]:
    """Every journal of this user, also what cannot be read."""
    return sorted(journal_folder().glob("*.jsonl"))


def journals_of(phone: PhoneNow) -> tuple[list[Journal], list[Path]]:
    """What is pending on this phone, and journals of version 0.1.0 that may be another's of the same number.

    Raises RestoreFailed for a journal under this phone's name that cannot be obeyed.
    """
    mine, unclear = [], []
    for path in _named_like(phone.facts.serialno):
        journal = Journal.open(path)
        is_mine = [phone.changed_by(entry) for entry in journal.entries]
        if journal.pending and all(is_mine):
            mine.append(journal)
        elif any(is_mine):
            raise RestoreFailed(
                f"{path}: holds changes of several phones, of {phone.facts.serial} and of others",
                hint="reboot the phones, which clears zram and loop, look through it for files to remove, delete it",
            )
        elif any(entry.phone is None for entry in journal.entries):
            unclear.append(path)
    return mine, unclear


def measuring_with(journal: Journal) -> Holder | None:
    """Who measures now on the phone whose journal it is: then it is what it must be."""
    last = journal.entries[-1] if journal.entries else None
    return held_by(lease_key(last.boot_id, last.phone.serialno)) if last and last.phone else None


def forget(serialno: str) -> list[Path]:
    """Delete the journals of a phone whose disks were made anew: nothing is left of what they would undo."""
    gone = list(_named_like(serialno))
    for path in gone:
        path.unlink()
    return gone


def _named_like(serialno: str) -> Iterator[Path]:
    # Version 0.1.0 put _ in place of all that is no letter or digit.
    names = {_file_name(serialno), _UNSAFE.sub("_", serialno)}
    return (path for path in all_journals() if path.stem.partition("~")[0] in names)


def _file_name(serialno: str) -> str:
    if _SAFE.fullmatch(serialno):
        return serialno
    digest = hashlib.sha256(serialno.encode("utf-8", errors="surrogatepass")).hexdigest()
    return f"{_UNSAFE.sub('_', serialno)[:40].lstrip('.')}={digest[:16]}"
