"""A virtual phone that is made to look like vendors' phones, and what a run makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from base.deadline import Deadline
from devices.adb import AdbTransport
from devices.android.apps import KeyguardInTheWay, app_launcher, find_apps
from devices.android.screen import Keyguard, ready_screen
from devices.device import open_device
from devices.transport import Exec
from devices.virtual.phone import RunningPhone
from devices.zram import take_over
from tests.conftest import lab

pytestmark = pytest.mark.phone

WRITER = "vendor.swap-hal-1-0"
# As on a Redmi K70 with HyperOS: an unlinked file behind zram0, swap of priority 32758, a writer, SELinux enforcing.
LIKE_A_K70 = f"""
set -e
swapoff /dev/block/zram0
print 1 >/sys/block/zram0/reset
mkdir -p /data/extm
truncate -s 16M /data/extm/extm_file
loop=$(losetup -f -s /data/extm/extm_file)
rm /data/extm/extm_file
print -r -- "$loop" >/sys/block/zram0/backing_dev
print 64M >/sys/block/zram0/disksize
mkswap /dev/block/zram0 >/dev/null
swapon -p 32758 /dev/block/zram0
start {WRITER}
setprop debug.lab.selinux Enforcing
"""
AS_BEFORE = f"""
set -e
stop {WRITER}
setprop debug.lab.selinux ''
loop=$(cat /sys/block/zram0/backing_dev)
swapoff /dev/block/zram0
print 1 >/sys/block/zram0/reset
losetup -d "$loop"
print 256M >/sys/block/zram0/disksize
mkswap /dev/block/zram0 >/dev/null
swapon /dev/block/zram0
"""
STATE = (
    "cat /proc/swaps /sys/block/zram0/backing_dev /sys/block/zram0/disksize; getenforce; ls /sys/block; ps -A -o NAME"
)
PROFILE = """\
name: like-k70
extends: redmi-k70
connection: {{adb: {{serial: '{serial}'}}}}
zram: {{disksize: 256MiB}}
backing: {{size: 128MiB}}
sweep: {{data: [8MiB], pages: [incompressible], batch_sizes: [1, 32]}}
faults: {{samples: 400, batch_sizes: [32]}}
plans:
  quick: {{sweep: {{data: [8MiB], batch_sizes: [1, 32], repeats: 2}}, faults: {{samples: 400}}}}
  nightly: {{sweep: {{data: [8MiB]}}, faults: {{samples: 400}}}}
"""


def shell(transport: AdbTransport, script: str) -> str:
    done = transport.execute([Exec(("sh", "-c", script))], deadline=Deadline.after(60))[0]
    return done.check().stdout


def facts(transport: AdbTransport) -> list[str]:
    """What must be the same afterwards: how much of a swap is used may differ, and what else runs."""
    rows = [line.split() for line in shell(transport, STATE).splitlines()]
    swaps = [f"{words[0]} {words[4]}" for words in rows if len(words) == 5 and words[0] != "Filename"]
    words = {words[0] for words in rows if len(words) == 1}
    return sorted(swaps) + sorted(word for word in words if re.search(r"zram|^/dev|^[0-9]+$|swap|ing$|issive", word))


@pytest.fixture
def k70(transport: AdbTransport) -> Iterator[AdbTransport]:
    shell(transport, LIKE_A_K70)
    try:
        yield transport
    finally:
        shell(transport, AS_BEFORE)


def test_a_redmi_k70_is_measured_beside_its_own_zram(k70: AdbTransport, phone: RunningPhone, tmp_path: Path) -> None:
    before = facts(k70)
    assert any("32758" in line for line in before)
    profile = tmp_path / "like-k70.yaml"
    profile.write_text(PROFILE.format(serial=phone.serial))
    tests = ("suites/test_fault_latency.py", "suites/test_writeback_throughput.py")
    done = lab("run", "--device", str(profile), "--results", str(tmp_path / "results"), *tests, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    records = next((tmp_path / "results").glob("*/results.jsonl")).read_text()
    assert '"selinux": "Permissive"' in records or '"selinux":"Permissive"' in records
    assert "/dev/block/zram1" in records
    assert facts(k70) == before


def test_its_zram0_is_not_taken_over_and_the_way_is_named(
    k70: AdbTransport, phone: RunningPhone, tmp_path: Path
) -> None:
    profile = tmp_path / "taken.yaml"
    profile.write_text(PROFILE.format(serial=phone.serial).replace("disksize:", "device: takeover, disksize:"))
    done = lab("run", "--device", str(profile), "--results", str(tmp_path / "results"), timeout=120)
    assert done.returncode == 11
    assert "has a backing device" in done.stdout + done.stderr
    assert "hot_add" in done.stdout + done.stderr


def test_a_swap_whose_path_lacks_dev_is_taken_over_and_put_back(transport: AdbTransport) -> None:
    with open_device(transport) as device, device.changes() as changes:
        before = shell(transport, "cat /proc/swaps")
        script = (
            "set -e; mkdir -p /mnt/odd; mount -t tmpfs tmpfs /mnt/odd; mkdir /mnt/odd/block; "
            "number=$(cat /sys/block/zram0/dev); mknod /mnt/odd/block/zram0 b ${number%:*} ${number#*:}; "
            "swapoff /dev/block/zram0; "
            "swapon /mnt/odd/block/zram0; umount -l /mnt/odd"
        )
        shell(transport, script)
        assert "\n/block/zram0 " in shell(transport, "cat /proc/swaps")
        take_over(changes)
    assert before.split()[5] == shell(transport, "cat /proc/swaps").split()[5] == "/dev/block/zram0"


def test_the_keyguard_of_android_9_is_seen(transport: AdbTransport) -> None:
    shell(transport, "setprop debug.lab.android 9; setprop debug.lab.keyguard 2")
    try:
        with open_device(transport) as device, device.changes() as changes, app_launcher(device) as launcher:
            (music,), _ = find_apps(device, ["com.zramlab.music"])
            assert ready_screen(changes) is Keyguard.showing
            with pytest.raises(KeyguardInTheWay):
                launcher.start(music)
            shell(transport, "setprop debug.lab.keyguard 0")
            assert ready_screen(changes) is Keyguard.gone
    finally:
        shell(transport, "setprop debug.lab.android ''; setprop debug.lab.keyguard 0")


def test_of_two_launchers_the_first_is_found(transport: AdbTransport) -> None:
    shell(transport, "setprop debug.lab.two_launchers com.zramlab.music")
    try:
        with open_device(transport) as device:
            (music,), problems = find_apps(device, ["com.zramlab.music"])
    finally:
        shell(transport, "setprop debug.lab.two_launchers ''")
    assert (music.component, problems) == ("com.zramlab.music/.MainActivity", [])
    assert "first of 2" in music.note
