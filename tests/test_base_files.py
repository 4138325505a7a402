"""What must survive a power cut: a line that was added stays, and no later one is lost to a torn one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from base.errors import CommandFailed, RestoreFailed
from base.files import append_line, read_lines, replace_file
from devices.fake.phone import FakePhone
from devices.journal import Expect, Journal, Undo
from devices.transport import Exec, Read, Write

BOOT = "11111111-1111-1111-1111-111111111111"


def undo_of(name: str) -> Undo:
    return Undo(
        name, (Write(f"/data/{name}", "1"), Exec(("rm", "-f", "/x")), Read("/y")), (Expect(f"/data/{name}", "1"),)
    )


def journal_of_two(path: Path) -> bytes:
    journal = Journal.open(path)
    journal.record(undo_of("first"), boot_id=BOOT)
    journal.record(undo_of("second"), boot_id=BOOT)
    return path.read_bytes()


def names(journal: Journal) -> list[str]:
    return [entry.undo.what for entry in journal.entries]


@pytest.mark.parametrize("damage", ["cut", "nuls", "nuls_and_newline"])
def test_a_torn_line_at_any_byte_loses_no_later_record(memory_path: Path, damage: str) -> None:
    path = memory_path / "journal.jsonl"
    whole = journal_of_two(path)
    first = whole.index(b"\n") + 1
    for at in range(len(whole)):
        tail = {"cut": b"", "nuls": bytes(len(whole) - at), "nuls_and_newline": bytes(len(whole) - at - 1) + b"\n"}
        path.write_bytes(whole[:at] + tail[damage])
        journal = Journal.open(path)
        known = names(journal)
        assert known[:1] == (["first"] if (at >= first - 1 and damage == "cut") or at >= first else []), at
        journal.record(undo_of("later"), boot_id=BOOT)
        journal.done(journal.record(undo_of("done"), boot_id=BOOT))
        again = Journal.open(path)
        assert not again.damage, at
        assert names(again) == [*known, "later"], at


def test_a_line_of_any_file_is_found_again_after_a_cut_at_any_byte(memory_path: Path) -> None:
    path = memory_path / "records.jsonl"
    for value in range(3):
        append_line(path, json.dumps({"value": value, "text": "ä" * 20}).encode())
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at])
        append_line(path, b'{"value": "later"}')
        records = [line.record for line in read_lines(path)]
        assert None not in records, at
        assert records[-1] == {"value": "later"}, at
        assert len(records) >= whole[:at].count(b"\n") + 1, at


def test_a_last_line_longer_than_a_block_is_found(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    append_line(path, json.dumps({"text": "x" * 200_000}).encode())
    append_line(path, b'{"value": 1}')
    path.write_bytes(path.read_bytes()[:-3])
    append_line(path, b'{"value": 2}')
    assert [len(line.record or {}) for line in read_lines(path)] == [1, 1]


@pytest.mark.parametrize("line", [b"\0\0\0\0", b"{", b"[1]", b"5", b"null", b"\xff", b"", b'{"number": 0}'])
def test_a_damaged_line_that_is_not_the_last_is_named_and_the_others_are_undone(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    first, second, _ = journal_of_two(path).split(b"\n")
    path.write_bytes(b"\n".join([first, line, second, b""]))
    phone = FakePhone()
    with pytest.raises(RestoreFailed, match=rf"{path}:2 cannot be read") as caught:
        Journal.open(path).rollback(phone, boot_id=BOOT)
    assert caught.value.exit_status == 13
    assert phone.files["/data/first"] == phone.files["/data/second"] == "1"
    assert line in path.read_bytes().split(b"\n")


class DyingShell(FakePhone):
    """Its shell is killed in the first undo that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.died = False

    def execute(self, ops, *, deadline, keep_going=False):  # type: ignore[no-untyped-def]
        if not self.died:
            self.died = True
            raise CommandFailed("sh", 137, "the shell ended early")
        return super().execute(ops, deadline=deadline, keep_going=keep_going)


def test_a_shell_that_dies_in_one_undo_does_not_keep_the_others_from_being_tried(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal_of_two(path)
    phone = DyingShell()
    with pytest.raises(RestoreFailed, match="second: sh: exit status 137: the shell ended early") as caught:
        Journal.open(path).rollback(phone, boot_id=BOOT)
    assert caught.value.exit_status == 13
    assert phone.files["/data/first"] == "1"
    assert names(Journal.open(path)) == ["second"]


def test_a_replaced_file_is_never_half_and_follows_no_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    target = tmp_path / "report.html"
    target.symlink_to(victim)
    replace_file(target, "new")
    assert target.read_text() == "new"
    assert victim.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "victim"]
