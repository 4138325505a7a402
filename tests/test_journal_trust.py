"""A journal is carried out as root: it is obeyed only if this user wrote it, and else it is one clear error."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from base.errors import EnvironmentRefused, LabError, RestoreFailed, StorageFailed
from base.paths import state_dir
from commands.doctor import main as doctor
from commands.restore import main as restore
from devices.device import MARKER, open_device
from devices.fake.phone import FakePhone
from devices.journal import Expect, ExpectRule, Journal, PhoneFacts, Undo
from devices.journal_files import journal_path
from devices.lease import lease, lease_key
from devices.probe.build import build
from devices.transcript import Transcript
from devices.transport import Exec
from devices.zram import take_over
from tests.fake_adb_server import AdbServer, uid_shell

BOOT = "11111111-1111-1111-1111-111111111111"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "state"
    monkeypatch.setenv("ZRAM_LAB_STATE", str(path))
    return path


def heal(phone: FakePhone) -> None:
    with open_device(phone, probe_builder=lambda arch: Path(__file__)):
        pass


def entry(**changes: object) -> str:
    undo = {"what": "w", "steps": [], "expect": [], "survives_reboot": False, **changes}
    return json.dumps({"number": 1, "boot_id": BOOT, "undo": undo})


BAD_LINES = {
    "list": "[1]",
    "number": "5",
    "null": "null",
    "text": '"x"',
    "no undo": '{"number": 1, "boot_id": "x"}',
    "number is text": entry().replace("1", '"z"', 1),
    "unknown operation": entry(steps=[{"op": "format"}]),
    "operation is text": entry(steps=["reboot"]),
    "steps are no list": entry(steps=7),
    "argv is text": entry(steps=[{"op": "run", "argv": "reboot", "accept": [0]}]),
    "argv is empty": entry(steps=[{"op": "run", "argv": [], "accept": [0]}]),
    "accept is text": entry(steps=[{"op": "run", "argv": ["true"], "accept": ["0"]}]),
    "path is a number": entry(steps=[{"op": "write", "path": 1, "value": "x"}]),
    "unknown match": entry(expect=[{"path": "/x", "value": "", "match": "near"}]),
    "expect without value": entry(expect=[{"path": "/x", "match": "equal"}]),
    "survives is text": entry(survives_reboot="yes"),
    "done and more": '{"done": 1, "undo": 2}',
    "deep": "[" * 100_000,
    "digits": '{"number": ' + "9" * 5000 + "}",
    "nothing": "",
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES)
def test_a_line_that_is_no_entry_is_one_error_that_names_it(line: str) -> None:
    path = journal_path("FAKE01")
    path.write_text(f"{line}\n")
    with pytest.raises(RestoreFailed, match=rf"{path}:1 cannot be read \(.+\)") as caught:
        heal(FakePhone())
    assert caught.value.exit_status == 13
    assert str(path) in caught.value.hint
    assert path.exists()


def not_utf8(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\n")


def folder(path: Path) -> None:
    path.mkdir()


def link(path: Path) -> None:
    target = path.with_name("target")
    target.write_text(entry() + "\n")
    path.symlink_to(target)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def others_may_write(path: Path) -> None:
    path.write_text(entry() + "\n")
    path.chmod(0o666)


def somebody_elses(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    path.write_text(entry() + "\n")
    os.chown(path, 65534, 65534)


KINDS = [not_utf8, folder, link, fifo, others_may_write, somebody_elses]


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_what_is_no_journal_of_this_user_is_never_obeyed(make, state: Path) -> None:  # type: ignore[no-untyped-def]
    path = journal_path("FAKE01")
    make(path)
    phone = FakePhone()
    with pytest.raises(RestoreFailed, match=str(path)) as caught:
        heal(phone)
    assert caught.value.exit_status == 13
    assert not any(line.startswith("reboot") for line in phone.log)
    heal(another_phone())


def another_phone() -> FakePhone:
    phone = FakePhone(serial="ANOTHER")
    phone.android.properties["ro.serialno"] = "ANOTHER"
    return phone


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_doctor_and_restore_name_it_and_go_on(make, capsys, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    make(journal_path("FAKE01"))
    with AdbServer({"A": "device", "B": "offline"}, uid_shell(0)) as server:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
        assert doctor(["--json"]) == 11
        answer = json.loads(capsys.readouterr().out)
        assert [phone["serial"] for phone in answer["phones"]] == ["A", "B"]
        (left,) = [row for row in answer["host"] if row["check"] == "nothing left to restore"]
        assert (left["verdict"], "FAKE01" in left["detail"]) == ("missing", True)
        assert restore([]) != 0
        assert "FAKE01" in capsys.readouterr().err


def test_a_damaged_journal_is_still_told_to_be_restored_when_the_rest_was_undone(tmp_path: Path) -> None:
    path = journal_path("FAKE01")
    Journal.open(path).record(Undo("file", (Exec(("rm", "-f", "/x")),)), boot_id=BOOT)
    path.write_text(path.read_text() + "null\n")
    phone = FakePhone()
    for _ in range(2):
        with pytest.raises(RestoreFailed, match=rf"{path}:2 cannot be read"):
            heal(phone)
    assert phone.log.count("rm -f /x") == 1


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022])
def test_nobody_else_can_read_or_write_what_is_kept(state: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with open_device(FakePhone(), probe_builder=lambda arch: Path(__file__)) as device, device.changes() as changes:
            take_over(changes)
            modes = {path.name: path.stat().st_mode & 0o777 for path in [state, *state.rglob("*")]}
    finally:
        os.umask(before)
    assert modes == {"state": 0o700, "journals": 0o700, "FAKE01.jsonl": 0o600}


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_a_state_folder_that_others_may_write_is_refused_and_left_as_it_is(state: Path, mode: int) -> None:
    state.mkdir()
    state.chmod(mode)
    with pytest.raises(EnvironmentRefused, match=f"{state}: others may write it") as refused:
        heal(FakePhone())
    assert "ZRAM_LAB_STATE" in refused.value.hint
    assert state.stat().st_mode & 0o7777 == mode


def test_the_usual_state_folder_loses_the_mode_that_a_careless_umask_gave_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ZRAM_LAB_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = tmp_path / "zram-writeback-lab"
    path.mkdir()
    path.chmod(0o775)
    assert state_dir() == path
    assert path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("make", [link, fifo], ids=lambda make: make.__name__)
def test_a_journal_folder_that_is_something_else_is_refused(make, state: Path) -> None:  # type: ignore[no-untyped-def]
    state.mkdir(mode=0o700)
    make(state / "journals")
    with pytest.raises(EnvironmentRefused, match=str(state / "journals")):
        heal(FakePhone())


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_at_the_first_entry_refuses_before_anything_is_changed() -> None:
    phone = FakePhone()
    before = phone.state()
    with (
        open_device(phone, probe_builder=lambda arch: Path(__file__)) as device,
        device.changes() as changes,
        full_disk(),
        pytest.raises(StorageFailed, match=r"FAKE01.jsonl: the way back of .* cannot be written") as failed,
    ):
        take_over(changes)
    assert "nothing was changed" in failed.value.hint
    assert phone.state() == before
    heal(phone)


def test_a_full_disk_does_not_keep_the_phone_from_being_put_back() -> None:
    phone = FakePhone()
    before = phone.state()[0]
    with (
        pytest.raises(RestoreFailed, match="is undone, but that cannot be written to the journal"),
        open_device(phone, probe_builder=lambda arch: Path(__file__)) as device,
        device.changes() as changes,
    ):
        for name in ("a", "b"):
            changes.will_undo(Undo(name, (Exec(("rm", "-f", f"/data/{name}")),)))
            phone.files[f"/data/{name}"] = "x"
        with full_disk():
            device.put_back()
    assert not {"/data/a", "/data/b"} & phone.files.keys()
    heal(phone)
    assert phone.state()[0] == before
    assert MARKER not in phone.files


@pytest.mark.parametrize("text", ["²", "٣", "9" * 5000, "-1", "", "1.5", "x"])
def test_a_counter_that_is_no_number_is_a_value_that_does_not_match(text: str) -> None:
    phone = FakePhone()
    phone.files["/counter"] = text
    journal = Journal.open(journal_path("FAKE01"))
    journal.record(Undo("w", (), (Expect("/counter", "5", ExpectRule.at_least),)), boot_id=BOOT)
    with pytest.raises(RestoreFailed, match="expected at_least '5'") as caught:
        journal.rollback(phone, boot_id=BOOT)
    assert isinstance(caught.value, LabError)


def cached_probe(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    """A built probe in a cache of its own; it is not compiled for this."""

    def compiled(argv: list[str], environment: object, what: str) -> None:
        Path(argv[-1]).write_bytes(b"a probe")

    monkeypatch.setenv("ZRAM_LAB_CACHE", str(cache))
    monkeypatch.setattr("devices.c_build._run", compiled)
    return build("x86_64")


def test_a_cached_probe_is_run_as_root_and_is_only_taken_if_it_is_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = os.umask(0o002)
    try:
        product = cached_probe(monkeypatch, tmp_path)
    finally:
        os.umask(before)
    for folder in product.parents[:3]:
        assert folder.stat().st_mode & 0o022 == 0
    assert build("x86_64") == product
    product.chmod(0o775)
    with pytest.raises(EnvironmentRefused, match=f"{product}: others may write it") as refused:
        build("x86_64")
    assert str(product.parent) in refused.value.hint
    product.chmod(0o755)
    link = product.with_name("elsewhere")
    product.rename(link)
    product.symlink_to(link)
    with pytest.raises(EnvironmentRefused, match=r"it is a link|others may write"):
        build("x86_64")


def test_a_transcript_that_cannot_be_written_stops_nothing_and_is_told(tmp_path: Path) -> None:
    transcript = Transcript(tmp_path / "transcript.log")
    transcript.note("A", "first \udcff")
    with full_disk():
        transcript.note("A", "second")
    transcript.note("A", "third")
    assert (tmp_path / "transcript.log").read_text().count("\n") == 1
    assert str(tmp_path / "transcript.log") in transcript.problem


def test_the_journal_of_a_run_that_goes_on_is_nobodys_to_restore_or_delete(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    boot_id = f"boot of {os.getpid()}"
    journal = Journal(journal_path("FAKE01"), PhoneFacts("0" * 32, "USB", "FAKE01"))
    journal.record(Undo("w", ()), boot_id=boot_id)
    with AdbServer() as server, lease(lease_key(boot_id, "FAKE01"), "run7"):
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
        assert restore([]) == 11
        said = capsys.readouterr().err
        assert "FAKE01: in use by user" in said
        assert "delete" not in said
        doctor(["--json"])
        (row,) = [
            row for row in json.loads(capsys.readouterr().out)["host"] if row["check"] == "nothing left to restore"
        ]
    assert row["verdict"] == "ok"
    assert "run run7" in row["detail"]
