"""Which phone is which, and who has it: nothing is undone on another phone, nothing of another phone is forgotten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from base.deadline import Deadline, wait_until
from base.errors import EnvironmentRefused, LabError, RestoreFailed
from devices.backing import loop_backing
from devices.device import MARKER, PHONE_ID, Device, holder_of, open_device
from devices.fake.phone import FakePhone
from devices.journal import Entry, Journal
from devices.journal_files import all_journals, forget, journal_path
from devices.lease import held_by, lease, lease_key
from devices.zram import ZramConfig, take_over

BOOT_ID = "/proc/sys/kernel/random/boot_id"
BACKING = "/data/per_boot/zram_writeback"
SHARED = "0123456789ABCDEF"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))


def cheap_phone(serial: str, boot_id: str, serialno: str = SHARED) -> FakePhone:
    """A phone in use, of a kind that all have one number."""
    phone = FakePhone(serial=serial)
    phone.files[BOOT_ID] = boot_id
    phone.files["/sys/block/zram0/disksize"] = "1073741824"
    phone.swaps["/dev/block/zram0"] = (1024, 100)
    phone.android.properties["ro.serialno"] = serialno
    return phone


@contextmanager
def opened(phone: FakePhone, run_id: str = "run", said: list[str] | None = None) -> Iterator[Device]:
    with open_device(
        phone, run_id=run_id, probe_builder=lambda arch: Path(__file__), say=(said if said is not None else []).append
    ) as device:
        yield device


def change(device: Device) -> None:
    device.probe.install(device.identity.arch)
    changes = device.changes().__enter__()
    take_over(changes).configure(ZramConfig(1 << 20))
    loop_backing(changes, BACKING, 64 << 20)


def cut_off(phone: FakePhone) -> None:
    """A run whose cable is pulled when everything is changed, and who then dies."""
    with suppress(LabError), opened(phone) as device, device.changes() as changes:
        device.probe.install(device.identity.arch)
        take_over(changes).configure(ZramConfig(1 << 20))
        loop_backing(changes, BACKING, 64 << 20)
        phone.commands_left = 0
        device.read("/proc/meminfo")
    phone.commands_left = None
    assert phone.files["/sys/block/zram0/disksize"] == str(1 << 20)


def heal(phone: FakePhone) -> list[str]:
    said: list[str] = []
    with opened(phone, said=said):
        pass
    return said


@pytest.mark.parametrize("boot_of_b", ["bbbb", "aaaa"], ids=["other_boot", "same_boot"])
def test_a_run_on_a_phone_of_the_same_number_leaves_the_others_way_back_alone(boot_of_b: str) -> None:
    a, b = cheap_phone("192.0.2.1:5555", "aaaa"), cheap_phone("192.0.2.2:5555", boot_of_b)
    a_before = a.state()
    cut_off(a)
    b.files[BACKING] = "precious"
    b_before = b.state()
    assert heal(b) == []
    assert b.state() == b_before
    assert any("put back" in line for line in heal(a))
    assert a.state() == a_before
    assert all_journals() == []


def test_two_phones_of_the_same_number_are_changed_and_put_back_at_once() -> None:
    a, b = cheap_phone("USB-A", "aaaa"), cheap_phone("USB-B", "bbbb")
    before = a.state()[1:], b.state()[1:]
    with opened(a) as first, opened(b) as second:
        for device in (first, second):
            with device.changes() as changes:
                take_over(changes)
                assert len(all_journals()) == 1
        with first.changes() as ours, second.changes() as theirs:
            take_over(ours)
            take_over(theirs)
            assert [path.name for path in all_journals()] == [f"{SHARED}.jsonl", f"{SHARED}~1.jsonl"]
    assert (a.state()[1:], b.state()[1:]) == before
    assert all_journals() == []


def test_a_phone_that_was_rebooted_is_known_by_what_it_keeps_however_it_is_reached() -> None:
    phone = cheap_phone("USB", "aaaa")
    cut_off(phone)
    phone.reboot()
    phone.serial = "192.0.2.1:5555"
    heal(phone)
    assert BACKING not in phone.files
    assert MARKER not in phone.files
    assert all_journals() == []


def test_a_rebooted_phone_whose_marker_is_gone_is_known_by_its_number_and_its_serial() -> None:
    phone = cheap_phone("USB", "aaaa")
    cut_off(phone)
    phone.reboot()
    del phone.files[MARKER]
    heal(phone)
    assert BACKING not in phone.files


def test_a_copy_of_a_phones_disk_is_another_phone() -> None:
    phone = cheap_phone("emulator-5554", "aaaa")
    with opened(phone) as device, device.changes() as changes:
        take_over(changes)
    copy = cheap_phone("emulator-5556", "bbbb")
    copy.files[PHONE_ID] = phone.files[PHONE_ID]
    cut_off(phone)
    copy.files[BACKING] = "precious"
    heal(copy)
    assert copy.files[BACKING] == "precious"
    heal(phone)
    assert BACKING not in phone.files


@pytest.mark.parametrize("lost", [[MARKER], [PHONE_ID], [MARKER, PHONE_ID]], ids=["marker", "number", "both"])
def test_what_somebody_removed_from_the_phone_does_not_lose_the_way_back(lost: list[str]) -> None:
    phone = cheap_phone("USB", "aaaa")
    before = phone.state()
    cut_off(phone)
    for path in lost:
        del phone.files[path]
    heal(phone)
    assert phone.state() == before


def old_journal(phone: FakePhone, name: str) -> Path:
    """What version 0.1.0 left of the same run: named by ro.serialno alone, entries that name no phone."""
    cut_off(phone)
    (path,) = all_journals()
    old = Journal(path.with_name(name))
    for entry in Journal.open(path).entries:
        old.record(entry.undo, boot_id=entry.boot_id)
    path.unlink()
    phone.files[MARKER] = f"{os.uname().nodename} {phone.files[BOOT_ID]} run7"
    del phone.files[PHONE_ID]
    return old.path


@pytest.mark.parametrize("rebooted", [False, True])
@pytest.mark.parametrize(("serialno", "name"), [(SHARED, f"{SHARED}.jsonl"), ("a:b c", "a_b_c.jsonl")])
def test_a_journal_of_the_version_before_is_found_and_replayed(serialno: str, name: str, rebooted: bool) -> None:
    phone = cheap_phone("USB", "aaaa", serialno)
    before = phone.state()
    path = old_journal(phone, name)
    if rebooted:
        phone.reboot()
    heal(phone)
    assert not path.exists()
    assert BACKING not in phone.files
    assert rebooted or phone.state() == before


def test_a_journal_of_the_version_before_that_may_be_another_phones_is_told_and_kept() -> None:
    a, b = cheap_phone("USB-A", "aaaa"), cheap_phone("USB-B", "bbbb")
    path = old_journal(a, f"{SHARED}.jsonl")
    b.files[BACKING] = "precious"
    (said,) = heal(b)
    assert str(path) in said
    assert b.files[BACKING] == "precious"
    heal(a)
    assert BACKING not in a.files


def test_what_was_done_to_a_phone_whose_disks_are_new_is_forgotten() -> None:
    cut_off(cheap_phone("127.0.0.1:5555", "aaaa", "virtual-run"))
    forget("virtual-run")
    assert all_journals() == []


def test_a_phone_that_reboots_in_a_run_gets_no_settings_of_the_boot_before() -> None:
    phone = cheap_phone("USB", "aaaa")
    with opened(phone) as device:
        change(device)
        phone.reboot()
        log = len(phone.log)
        device.put_back()
    assert BACKING not in phone.files
    assert not any("echo" in line and "zram0" in line for line in phone.log[log:])


def test_a_phone_that_reboots_in_a_run_and_is_somebody_elses_now_is_left_to_them() -> None:
    phone = cheap_phone("USB", "aaaa")
    with suppress(LabError), opened(phone) as device:
        change(device)
        phone.reboot()
        with (
            lease(lease_key(phone.files[BOOT_ID], SHARED, lives_in=phone.lives_in), "theirs"),
            pytest.raises(RestoreFailed, match=r"was rebooted, and now .* in use by user"),
        ):
            device.put_back()
    assert BACKING in phone.files
    assert len(all_journals()) == 1


@pytest.mark.parametrize("serialno", ["A" * 300, "../../../../etc/cron.d/x", "..", ".hidden", "a/b", "ä\x1b[2J", "-rf"])
def test_any_serial_number_makes_a_file_name_in_the_folder(serialno: str, tmp_path: Path) -> None:
    phone = cheap_phone("USB", "aaaa", serialno)
    before = phone.state()
    cut_off(phone)
    assert [path.parent for path in all_journals()] == [tmp_path / "state/journals"]
    heal(phone)
    assert phone.state() == before


def test_numbers_that_differ_have_files_that_differ() -> None:
    numbers = ["a:b", "a_b", "a/b", "a b", "A_b", "a_b~1", "A" * 300, "A" * 299, "a=b", "", "."]
    assert len({journal_path(number) for number in numbers}) == len(numbers)


def test_nobody_has_a_phone_that_nobody_has() -> None:
    assert held_by("no such phone") is None
    assert holder_of(cheap_phone("USB", "aaaa"), deadline=Deadline.after(9)) is None


def test_the_second_user_of_a_host_is_refused_before_anything_is_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    phone = cheap_phone("USB", "aaaa")
    with opened(phone, "run-of-alice") as device:
        monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "jenkins"))
        for serial in ("USB", "192.0.2.1:5555"):
            phone.serial = serial
            with pytest.raises(EnvironmentRefused, match=rf"in use by user .*, pid {os.getpid()}, run run-of-al") as no:
                heal(phone)
            assert "restore" not in no.value.hint
            assert "reboot" not in no.value.hint
        monkeypatch.undo()
        monkeypatch.setenv("ZRAM_LAB_STATE", str(tmp_path / "state"))
        with device.changes() as changes:
            take_over(changes)
            with pytest.raises(EnvironmentRefused, match="in use by user"):
                heal(phone)


HOLD = """\
import sys, time
from devices.lease import lease
with lease(sys.argv[1], "theirs"):
    print("held", flush=True)
    time.sleep(60)  # sleep: until it is killed
"""


@contextmanager
def held_elsewhere(key: str, *, user: list[str]) -> Iterator[subprocess.Popen[str]]:
    repo = Path(__file__).resolve().parent.parent
    with subprocess.Popen(
        [*user, sys.executable, "-c", HOLD, key], stdout=subprocess.PIPE, text=True, cwd=repo,
        env={**os.environ, "PYTHONPATH": str(repo)},
    ) as holder:  # fmt: skip
        try:
            assert holder.stdout and holder.stdout.readline() == "held\n"
            yield holder
        finally:
            holder.kill()


def test_the_lease_goes_with_its_holder_whatever_ends_it() -> None:
    key = lease_key(f"of a test {os.getpid()}", "the_lease_goes")
    with held_elsewhere(key, user=[]) as holder:
        assert (found := held_by(key)) and (found.pid, found.run) == (holder.pid, "theirs")
        with pytest.raises(EnvironmentRefused, match=f"pid {holder.pid}, run theirs, since 2"), lease(key, "ours"):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with lease(key, "ours"):
            assert (ours := held_by(key)) and ours.pid == os.getpid()
    assert held_by(key) is None


def test_the_holder_is_still_named_after_it_was_asked_for_very_often() -> None:
    key = lease_key(f"of a test {os.getpid()}", "asked_often")
    with lease(key, "run7"):
        assert len({str(held_by(key)) for _ in range(200)}) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.skipif(not Path("/usr/bin/setpriv").exists(), reason="no setpriv on this host")
def test_a_phone_that_another_user_has_is_refused_and_the_user_is_named() -> None:
    key = lease_key(f"of a test {os.getpid()}", "another user")
    with (
        held_elsewhere(key, user=["setpriv", "--reuid=65534", "--clear-groups", "--"]) as holder,
        pytest.raises(EnvironmentRefused, match=f"user nobody, pid {holder.pid}"),
        lease(key, "ours"),
    ):
        pass


@pytest.mark.parametrize("marker", ["", " ", "\0", "\x1b]0;owned\x07\x1b[2Jhost aaaa run;rm -rf /", "a " * 500])
def test_whatever_a_marker_holds_is_told_in_clean_words_or_taken_away(marker: str) -> None:
    phone = cheap_phone("USB", "aaaa")
    phone.files[MARKER] = marker
    try:
        heal(phone)
    except EnvironmentRefused as error:
        assert "\x1b" not in error.for_people()
    else:
        assert MARKER not in phone.files


def test_entries_of_version_0_1_0_and_of_now_are_told_apart() -> None:
    undo = {"what": "x", "steps": [], "expect": [], "survives_reboot": False}
    old = Entry.from_json({"number": 0, "boot_id": "b", "undo": undo})
    assert old.phone is None
    with pytest.raises(ValueError, match="phone"):
        Entry.from_json({"number": 0, "boot_id": "b", "undo": undo, "phone": "FAKE01"})


@pytest.mark.parametrize("user", ["another", "this"])
def test_a_marker_without_its_journal_names_host_and_user(user: str) -> None:
    phone = cheap_phone("USB", "aaaa")
    phone.files[MARKER] = f"elsewhere aaaa run7 {user}"
    with pytest.raises(EnvironmentRefused, match=f"run run7 of user {user} on host elsewhere") as refused:
        heal(phone)
    assert f"on elsewhere as {user}" in refused.value.hint


def test_a_lease_is_free_again_at_once() -> None:
    key = lease_key(f"of a test {os.getpid()}", "again")
    for number in range(20):
        with lease(key, str(number)):
            pass
    wait_until("the lease", lambda: held_by(key) is None, Deadline.after(5))
