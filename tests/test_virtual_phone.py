"""The virtual phone, booted: that it feels like a phone, keeps its data, and dies and comes back as told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from base.deadline import Deadline, wait_until
from base.errors import DeviceLost, EnvironmentRefused
from base.units import MIB
from devices.adb import AdbTransport, RootStyle
from devices.transport import CommandResult, Exec
from devices.virtual.image import Image, ensure_image, packages_of, qemu_user
from devices.virtual.machines import DEFAULT
from devices.virtual.phone import RunningPhone, VirtualPhoneConfig, find, running, start
from devices.virtual.qemu import supports_direct_io
from devices.virtual.state import process_start

pytestmark = pytest.mark.phone

SMALL = VirtualPhoneConfig(name="small", memory_bytes=768 * MIB, ufs_bytes=1 << 30)


def say(message: str) -> None:
    print(message, file=sys.stderr)


def shell(phone: RunningPhone, script: str, *, root: RootStyle = RootStyle.none, seconds: float = 30) -> CommandResult:
    transport = AdbTransport(phone.serial, root=root)
    return transport.execute([Exec(("sh", "-c", script))], deadline=Deadline.after(seconds))[0]


def output(phone: RunningPhone, script: str, *, root: RootStyle = RootStyle.none) -> str:
    return shell(phone, script, root=root).check().text


@pytest.fixture(scope="module", autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The user's own phones are left alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZRAM_LAB_STATE", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="module")
def phone(state_folder: None) -> Iterator[RunningPhone]:
    booted = start(VirtualPhoneConfig(name="shared"), progress=say)
    yield booted
    booted.stop()


@pytest.fixture
def small() -> Iterator[RunningPhone]:
    booted = start(SMALL, fresh=True, progress=say)
    yield booted
    if left := find(SMALL.name):
        left.stop()


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmRSS:"))


def test_it_boots_in_time_and_without_a_complaint_of_the_kernel(phone: RunningPhone) -> None:
    # 25 s on an idle host of two cores; others may be working beside.
    assert phone.boot_s < 60
    assert output(phone, "dmesg | grep -E 'Oops:|BUG:|Call Trace|WARNING:' || true") == ""


def test_the_shell_is_androids_shell_user(phone: RunningPhone) -> None:
    assert output(phone, "id").startswith("uid=2000(shell) gid=2000(shell) groups=2000(shell),1004(input)")
    assert "MIRBSD KSH" in output(phone, "echo $KSH_VERSION")
    assert output(phone, "echo $PATH").startswith("/product/bin:")


@pytest.mark.parametrize(
    ("command", "prints"),
    [
        ("su -c id -u", "0"),
        ("su -c 'id -u; echo \"$0\"'", "0\nsh"),
        ("su 0 id -u", "0"),
        ("su root sh -c 'echo a  b'", "a b"),
        ("su 0 echo 'a  b'", "a  b"),
        ("echo id -u | su", "0"),
        ("su -c 'su shell id -u'", "2000"),
        ("su 10105 id -un", "u0_a105"),
    ],
)
def test_every_way_of_becoming_root(phone: RunningPhone, command: str, prints: str) -> None:
    assert output(phone, command) == prints


def test_su_hands_on_the_exit_status_and_only_serves_shell_and_root(phone: RunningPhone) -> None:
    assert shell(phone, "su -c 'exit 7'").status == 7
    assert shell(phone, "su nobody").stderr == "su: unknown user\n"
    assert shell(phone, "su 10105 su 0 id").stderr == "su: not allowed\n"


@pytest.mark.parametrize("program", ["bash", "busybox", "python3", "wget", "gcc", "perl", "apt-get"])
def test_what_a_phone_lacks_is_not_there(phone: RunningPhone, program: str) -> None:
    assert shell(phone, program).status == 127


@pytest.mark.parametrize(
    "command", ["ls --time-style=iso", "sort --parallel=2", "losetup --direct-io=on", "cp --reflink x y"]
)
def test_flags_of_gnu_fail(phone: RunningPhone, command: str) -> None:
    assert shell(phone, command).status != 0


def test_the_programs_of_system_bin_are_toybox(phone: RunningPhone) -> None:
    assert output(phone, "readlink /system/bin/ls /system/bin/grep /system/bin/mkswap") == "toybox\ntoybox\ntoybox"


def test_storage_is_ufs_with_f2fs_on_it(phone: RunningPhone) -> None:
    assert output(phone, "cat /sys/bus/pci/drivers/ufshcd/*/device_descriptor/specification_version") == "0x0400"
    assert output(phone, "grep ' /data ' /proc/mounts").startswith("/dev/block/dm-0 /data f2fs rw,")
    assert output(phone, "ls /sys/block/dm-0/slaves; readlink -f /dev/block/mapper/userdata") == "sda\n/dev/block/dm-0"
    assert output(phone, "cat /sys/block/sda/queue/logical_block_size /sys/block/sda/queue/rotational") == "4096\n0"
    assert output(phone, "stat -c '%a %U:%G' /data/local/tmp") == "771 shell:shell"
    assert output(phone, "ls -d /data/per_boot", root=RootStyle.su_c) == "/data/per_boot"


def test_block_devices_are_where_android_has_them(phone: RunningPhone) -> None:
    assert output(phone, "ls /dev/block/sda /dev/block/loop15 /dev/block/zram0 /dev/loop-control").count("\n") == 3
    assert shell(phone, "ls /dev/zram0 /dev/loop0 /dev/sda").stdout == ""
    assert (
        output(phone, "for f in /dev/block/*; do [ -b $f ] || echo $f; done") == "/dev/block/by-name\n/dev/block/mapper"
    )
    assert output(phone, "cat /sys/class/zram-control/hot_add", root=RootStyle.su_c) == "1"
    assert output(phone, "ls /dev/block/zram1") == "/dev/block/zram1"
    output(phone, "echo 1 > /sys/class/zram-control/hot_remove", root=RootStyle.su_c)


def test_zram0_is_swap_of_half_the_memory_without_backing(phone: RunningPhone) -> None:
    kib = int(output(phone, "sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo"))
    disksize = int(output(phone, "cat /sys/block/zram0/disksize"))
    assert 0 <= kib * 1024 // 2 - disksize < 4096 or 0 <= disksize - kib * 1024 // 2 < 4096
    assert output(phone, "cat /sys/block/zram0/backing_dev") == "none"
    assert "/dev/block/zram0" in output(phone, "cat /proc/swaps")


def test_the_kernel_has_batched_writeback(phone: RunningPhone) -> None:
    assert phone.kernel_release.startswith("7.3.")
    assert output(phone, "uname -r") == phone.kernel_release
    assert output(phone, "cat /sys/block/zram0/writeback_batch_size /sys/block/zram0/compressed_writeback") == "32\n0"


def test_loop_devices_attach_and_null_blk_loads(phone: RunningPhone) -> None:
    file = "/data/local/tmp/loop.img"
    script = f"fallocate -l 1m {file} && losetup -sf {file} && losetup -a && losetup -D && losetup -a"
    assert output(phone, script, root=RootStyle.su_c) == f"/dev/block/loop0\n/dev/block/loop0: [0000]:0 ({file})"
    output(phone, f"rm {file}; modprobe null_blk && lsmod | grep -q null_blk && rmmod null_blk", root=RootStyle.su_c)


def test_kernel_file_systems(phone: RunningPhone) -> None:
    mounts = output(phone, "cat /proc/mounts")
    for line in ("tracefs /sys/kernel/tracing", "debugfs /sys/kernel/debug", "cgroup2 /sys/fs/cgroup"):
        assert line in mounts
    assert output(phone, "cat /sys/kernel/debug/zram/zram0/block_state | wc -l", root=RootStyle.su_c).isdigit()


def test_properties(phone: RunningPhone) -> None:
    assert output(phone, "getprop ro.serialno") == "virtual-shared"
    assert output(phone, "getprop ro.boot.lab.accelerator") == phone.accelerator
    assert "[ro.boot.qemu]: [1]\n" in output(phone, "getprop")
    assert output(phone, "getprop no.such") == ""
    assert output(phone, "getprop no.such fallback") == "fallback"
    assert output(phone, "setprop debug.some thing; getprop debug.some") == "thing"
    refused = shell(phone, "setprop ro.product.model x")
    assert (refused.status, "Failed to set property" in refused.stderr) == (1, True)
    assert output(phone, "getconf PAGE_SIZE") == "4096"


def test_battery_and_heat_answer_and_can_be_set_as_on_android(phone: RunningPhone) -> None:
    assert "  level: 100\n" in output(phone, "dumpsys battery")
    assert "  temperature: 451\n" in output(phone, "dumpsys battery set temp 451; dumpsys battery")
    assert "  temperature: 250\n" in output(phone, "dumpsys battery reset; dumpsys battery")
    assert "Thermal Status: 0\n" in output(phone, "dumpsys thermalservice")


def test_the_kernels_log_comes_in_logcats_format(phone: RunningPhone) -> None:
    lines = output(phone, "logcat -b kernel -d").splitlines()
    assert lines[0] == "--------- beginning of kernel"
    # On arm64 the second line of the kernel's is the one with its version.
    assert "Linux version 7.3" in lines[1] + lines[2]
    stamp = time.strptime(lines[1][:14], "%m-%d %H:%M:%S")
    assert stamp.tm_mon == time.gmtime(time.time()).tm_mon or stamp.tm_mday in (1, 28, 29, 30, 31)
    assert lines[1][18:].startswith("     0     0 I         : ")


def test_an_app_holds_memory_until_it_is_killed(phone: RunningPhone) -> None:
    assert "package:com.zramlab.chat" in output(phone, "pm list packages -3").splitlines()
    cold = output(phone, "am start -W -n com.zramlab.chat/.MainActivity").splitlines()
    assert cold[1:3] == ["Status: ok", "LaunchState: COLD"]
    assert cold[-1] == "Complete"
    pid = output(phone, "pidof com.zramlab.chat")
    assert int(output(phone, f"sed -n 's/VmRSS:[^0-9]*\\([0-9]*\\) kB/\\1/p' /proc/{pid}/status")) > 48 * 1024
    assert "LaunchState: HOT" in output(phone, "input keyevent 3; am start -W -n com.zramlab.chat/.MainActivity")
    output(phone, "am force-stop com.zramlab.chat")
    assert shell(phone, "pidof com.zramlab.chat").stdout == ""


def test_processes_that_lose_their_parent_leave_no_zombies(phone: RunningPhone) -> None:
    output(phone, "(sleep 0.1 &); (sleep 0.1 &); sleep 0.5")
    assert output(phone, "ps -A -o STAT | grep -c Z || true") == "0"


def test_qemus_memory_stays_within_the_guests_and_400_mib(phone: RunningPhone) -> None:
    assert resident_bytes(phone.pid) < phone.memory_bytes + 400 * MIB


def test_it_is_listed_and_cannot_be_started_twice(phone: RunningPhone) -> None:
    assert ("shared", phone.serial) in [(one.name, one.serial) for one in running()]
    assert phone.died() is None
    with pytest.raises(EnvironmentRefused, match="runs already"):
        start(VirtualPhoneConfig(name="shared"), progress=say)


def test_a_storage_limit_slows_the_disk_and_is_lifted(phone: RunningPhone) -> None:
    if not supports_direct_io(phone.console_log):
        pytest.skip("the host's page cache would answer")
    read = "echo 3 > /proc/sys/vm/drop_caches; cat /data/local/tmp/blob > /dev/null; echo $EPOCHREALTIME"
    output(phone, "head -c 4m /dev/urandom > /data/local/tmp/blob; sync", root=RootStyle.su_c)

    def seconds() -> float:
        times = output(phone, f"echo $EPOCHREALTIME; {read}", root=RootStyle.su_c).split()
        return float(times[1]) - float(times[0])

    free = seconds()
    phone.set_storage_limit(bytes_per_s=1 * MIB)
    limited = seconds()
    phone.set_storage_limit()
    assert limited > 2.0 > free
    assert seconds() < 2.0


def test_a_pulled_cable_loses_the_phone_which_runs_on(phone: RunningPhone) -> None:
    boot = output(phone, "cat /proc/sys/kernel/random/boot_id")
    phone.unplug_cable()
    with pytest.raises(DeviceLost):
        shell(phone, "true", seconds=3)
    assert phone.died() is None
    phone.plug_cable()
    assert output(phone, "cat /proc/sys/kernel/random/boot_id") == boot


def test_data_survives_stop_and_start_but_not_fresh(small: RunningPhone) -> None:
    output(small, "echo kept > /data/local/tmp/note; su -c 'echo x > /data/per_boot/gone; setprop persist.lab.x 5'")
    small.stop()
    small.stop()
    assert process_start(small.pid) is None
    again = start(SMALL, progress=say)
    assert again.serial == small.serial
    assert output(again, "cat /data/local/tmp/note; getprop persist.lab.x; su -c 'ls /data/per_boot'") == "kept\n5"
    again.stop()
    new = start(SMALL, fresh=True, progress=say)
    assert shell(new, "cat /data/local/tmp/note").status == 1


def test_a_qemu_killed_from_outside_and_a_power_cut_are_survived(small: RunningPhone) -> None:
    output(small, "echo synced > /data/local/tmp/note; sync")
    os.kill(small.pid, signal.SIGKILL)
    wait_until("QEMU's end", lambda: process_start(small.pid) is None, Deadline.after(5))
    reason = small.died() or ""
    assert f"(pid {small.pid}) is gone" in reason
    assert "lab: boot completed" in reason
    assert find("small") is None
    with pytest.raises(DeviceLost):
        shell(small, "true", seconds=5)
    again = start(SMALL, progress=say)
    assert output(again, "cat /data/local/tmp/note") == "synced"
    again.power_cut()
    assert again.died() is not None


def test_a_panic_ends_qemu_and_is_told(small: RunningPhone) -> None:
    with pytest.raises(DeviceLost):
        shell(small, "echo c > /proc/sysrq-trigger", root=RootStyle.su_c, seconds=20)
    wait_until("QEMU's end", lambda: small.died() is not None, Deadline.after(20))
    assert "; cause: " in (small.died() or "")


def test_two_phones_side_by_side_with_other_settings(phone: RunningPhone) -> None:
    config = VirtualPhoneConfig(
        name="second", kernel="6.12", memory_bytes=768 * MIB, cpus=1, ufs_bytes=1 << 30, adbd_root=True
    )
    second = start(config, progress=say)
    try:
        assert sorted(one.name for one in running()) == ["second", "shared"]
        assert second.serial != phone.serial
        assert output(second, "id -u; getprop ro.serialno; nproc") == "0\nvirtual-second\n1"
        assert second.kernel_release.startswith("6.12.")
        assert shell(second, "cat /sys/block/zram0/writeback_batch_size").status == 1
        assert output(phone, "getprop ro.serialno") == "virtual-shared"
    finally:
        second.stop()


def test_a_phone_started_by_the_command_stays_and_stop_ends_it() -> None:
    command = [sys.executable, "-m", "commands", "phone"]
    done = subprocess.run(
        [*command, "start", "--name", "cli", "--memory", "768MiB", "--ufs", "1GiB"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    try:
        left = find("cli")
        assert left is not None
        assert done.stdout == f"{left.serial}\n"
        assert output(left, "echo up") == "up"
    finally:
        subprocess.run([*command, "stop", "--name", "cli"], check=True, timeout=60)
    assert find("cli") is None


def test_the_images_origin_is_recorded() -> None:
    versions = packages_of(DEFAULT)
    assert {"adbd", "mksh", "toybox", DEFAULT.processor.qemu_package} <= set(versions)


def test_asking_for_the_cached_image_is_quick() -> None:
    images: list[Image] = []
    best = min(_timed(lambda: images.append(ensure_image(DEFAULT, progress=say))) for _ in range(3))
    assert best < 0.3
    assert images[0] == images[2]


def _timed(work: object) -> float:
    began = time.monotonic()
    assert callable(work)
    work()
    return time.monotonic() - began


@pytest.mark.parametrize("arch", ["aarch64", "armv7"])
def test_programs_of_other_architectures_run_on_the_host(arch: str) -> None:
    done = subprocess.run([*qemu_user(arch, progress=say), "--version"], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(f"qemu-{arch.removesuffix('v7')} version ")
