"""The index of watched series: SQLite, made from the results folders alone, so it may be deleted at any time.

It lies in the cache, on this computer's own disk, one for each results folder. Readers never wait; one process writes
at a time. ``point`` is in the order of nights, so that a night is appended at its end.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from base.errors import EnvironmentRefused
from base.paths import cache_dir
from farm.history.figures import Watched
from farm.history.folder import FolderRun, RunKind

SCHEMA = 1
_WAIT_S = 600.0
_TABLES = """
CREATE TABLE phone(id INTEGER PRIMARY KEY, serial TEXT NOT NULL UNIQUE);
CREATE TABLE kind(id INTEGER PRIMARY KEY, profile TEXT, kernel TEXT, build TEXT, plan TEXT,
  UNIQUE(profile, kernel, build, plan));
CREATE TABLE series(id INTEGER PRIMARY KEY, test TEXT, params TEXT, metric TEXT, quantile TEXT, unit TEXT, better TEXT,
  UNIQUE(test, params, metric, quantile, unit, better));
CREATE TABLE run(id INTEGER PRIMARY KEY, folder TEXT NOT NULL UNIQUE, phone INTEGER, kind INTEGER, night INTEGER,
  started REAL, status INTEGER, version TEXT, seconds REAL, written INTEGER, caveats TEXT, size INTEGER);
CREATE TABLE life(phone INTEGER, life TEXT, night INTEGER, PRIMARY KEY(phone, life)) WITHOUT ROWID;
CREATE INDEX run_of_phone ON run(phone, night);
CREATE INDEX run_of_night ON run(night, kind, version);
CREATE TABLE unreadable(folder TEXT PRIMARY KEY, why TEXT NOT NULL, size INTEGER);
CREATE TABLE point(night INTEGER, phone INTEGER, series INTEGER, run INTEGER, n INTEGER, median REAL, low REAL,
  high REAL, used INTEGER, PRIMARY KEY(night, phone, series)) WITHOUT ROWID;
CREATE TABLE pooled(night INTEGER, kind INTEGER, series INTEGER, n INTEGER, median REAL, change REAL, z REAL,
  drift REAL, raised TEXT NOT NULL, PRIMARY KEY(night, kind, series)) WITHOUT ROWID;
CREATE INDEX pooled_raised ON pooled(kind, night) WHERE raised <> '';
CREATE TABLE moved(night INTEGER, phone INTEGER, series INTEGER, change REAL, PRIMARY KEY(night, phone, series))
  WITHOUT ROWID;
CREATE TABLE boundary(kind INTEGER, version TEXT, series INTEGER, night INTEGER, before TEXT, n INTEGER, ratio REAL,
  low REAL, high REAL, word INTEGER, PRIMARY KEY(kind, version, series)) WITHOUT ROWID;
CREATE TABLE baseline(pin TEXT, at TEXT, kind INTEGER, phone INTEGER, series INTEGER, median REAL);
CREATE TABLE unjudged(night INTEGER PRIMARY KEY);
"""
# Of two runs of a night the later one counts.
_POINT = """
INSERT INTO point VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET run = excluded.run, n = excluded.n,
  median = excluded.median, low = excluded.low, high = excluded.high, used = excluded.used
WHERE (SELECT started FROM run WHERE id = excluded.run) >= (SELECT started FROM run WHERE id = point.run)
"""
# Storage ages one way only, so the first night of each state tells all.
_LIFE = "INSERT INTO life VALUES(?, ?, ?) ON CONFLICT DO UPDATE SET night = min(night, excluded.night)"


def index_path(results: Path) -> Path:
    """Where the index of a results folder lies."""
    whole = results.resolve()
    name = f"{whole.name[:40] or 'root'}-{hashlib.sha256(str(whole).encode()).hexdigest()[:12]}.sqlite3"
    folder = cache_dir() / "history"
    folder.mkdir(exist_ok=True)
    return folder / name


class HistoryIndex:
    """One open index. Raises sqlite3.DatabaseError for one that is damaged or of another version."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA cache_size = -65536")
            self._prepare()
        except sqlite3.DatabaseError:
            self._db.close()
            raise

    def close(self) -> None:
        """Close it; what was committed stays."""
        self._db.close()

    def rows(self, sql: str, *values: Any) -> list[Any]:
        """What a query finds."""
        return self._db.execute(sql, values).fetchall()

    def each(self, sql: str, *values: Any) -> Iterator[Any]:
        """What a query finds, one row after the other."""
        yield from self._db.execute(sql, values)

    def write(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Carry out one statement for each row, within ``writing``."""
        self._db.executemany(sql, rows)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction: all of it, or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            self.__dict__.pop("_ids", None)
            raise
        self._db.execute("COMMIT")

    def add(self, folder: str, run: FolderRun, size: int = 0) -> None:
        """Add a run, or put it in the place of what its folder held before; within ``writing``.

        ``size``, of the file that it was read from, tells whether one that was killed has grown since.
        """
        self.forget(folder)
        phone, kind = self._id("phone", run.serial), self._id("kind", *astuple(run.kind))
        row = (
            folder, phone, kind, run.night, run.started, run.status, run.version, run.seconds, run.written_bytes,
            " ".join(run.caveats), size,
        )  # fmt: skip
        places = ", ".join("?" * len(row))
        inserted = self._db.execute(f"INSERT INTO run VALUES(NULL, {places})", row)
        number = inserted.lastrowid
        if run.life:
            self.write(_LIFE, [(phone, json.dumps(run.life, sort_keys=True), run.night)])
        points = [
            (run.night, phone, self._id("series", *astuple(each.series)), number, each.n, each.median, each.low,
             each.high, int(each.used))
            for each in run.figures
        ]  # fmt: skip
        self.write(_POINT, points)
        self.write("INSERT OR IGNORE INTO unjudged VALUES(?)", [(run.night,)])

    def add_baseline(self, pin: str, at: str, run: FolderRun) -> None:
        """Add the figures of a run that was pinned, ``at`` a time that sorts as text; within ``writing``."""
        phone, kind = self._id("phone", run.serial), self._id("kind", *astuple(run.kind))
        rows = [(pin, at, kind, phone, self._id("series", *astuple(each.series)), each.median)
                for each in run.figures if each.used]  # fmt: skip
        self.write("INSERT INTO baseline VALUES(?, ?, ?, ?, ?, ?)", rows)

    def add_unreadable(self, folder: str, why: str, size: int = 0) -> None:
        """Note why nothing is known of a folder; within ``writing``."""
        self.forget(folder)
        self.write("INSERT INTO unreadable VALUES(?, ?, ?)", [(folder, why, size)])

    def forget(self, folder: str) -> None:
        """Take out what is known of a folder; within ``writing``."""
        self.write("DELETE FROM unreadable WHERE folder = ?", [(folder,)])
        for number, night in self.rows("SELECT id, night FROM run WHERE folder = ?", folder):
            self.write("DELETE FROM point WHERE night = ? AND run = ?", [(night, number)])
            self.write("DELETE FROM run WHERE id = ?", [(number,)])
            self.write("INSERT OR IGNORE INTO unjudged VALUES(?)", [(night,)])

    @cached_property
    def _ids(self) -> dict[tuple[Any, ...], int]:
        return {
            (table, *names): number
            for table in ("phone", "kind", "series")
            for number, *names in self._db.execute(f"SELECT * FROM {table}")
        }

    def _id(self, table: str, *names: Any) -> int:
        key = (table, *names)
        if key not in self._ids:
            places = ", ".join("?" * len(names))
            inserted = self._db.execute(f"INSERT INTO {table} VALUES(NULL, {places})", names)
            self._ids[key] = inserted.lastrowid or 0
        return self._ids[key]

    def series(self) -> dict[int, Watched]:
        """Every watched series by its number."""
        return {number: Watched(*names) for number, *names in self.rows("SELECT * FROM series")}

    def kinds(self) -> dict[int, RunKind]:
        """Every kind of phone by its number."""
        return {number: RunKind(*names) for number, *names in self.rows("SELECT * FROM kind")}

    def phones(self) -> dict[int, str]:
        """Every phone's serial by its number."""
        return dict(self.rows("SELECT id, serial FROM phone"))

    def _prepare(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == SCHEMA:
            return
        if version or self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise sqlite3.DatabaseError(f"of schema {version}, this version makes {SCHEMA}")
        self._db.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {SCHEMA}; COMMIT")


@contextmanager
def one_writer(path: Path) -> Iterator[None]:
    """Hold the index for writing; others wait. Raises EnvironmentRefused after ten minutes."""
    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=_WAIT_S)
    except Timeout:
        raise EnvironmentRefused(
            f"{path}: another process has been writing the history for {_WAIT_S / 60:.0f} minutes",
            hint="look for another `./lab history` or `./lab nightly`; end it if it hangs",
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def open_index(path: Path) -> Iterator[HistoryIndex]:
    """The index for this scope. Raises sqlite3.DatabaseError for one that is damaged or of another version."""
    with closing(HistoryIndex(path)) as index:
        yield index


def remove_index(path: Path) -> None:
    """Remove an index with what SQLite keeps beside it."""
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
