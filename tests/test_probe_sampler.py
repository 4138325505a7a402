"""The sampler's counters on kernels that have others than the one it runs on."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from devices.probe.build import build
from tests.probe_process import served

MAY_UNSHARE = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0
pytestmark = pytest.mark.skipif(not MAY_UNSHARE, reason="needs a mount namespace of its own: unshare -rm")

COMMON = "nr_free_pages 133183\n{refaults}nr_dirtied 798484\npswpin 10000\npswpout 20000\npgmajfault 30000\n{last}"


def on_kernel(tmp_path: Path, probe: list[str], vmstat: str) -> list[str]:
    """The probe where /proc/vmstat is this one and there is a zram device, in a mount namespace of its own."""
    (tmp_path / "vmstat").write_text(vmstat)
    zram = tmp_path / "block/zram0"
    zram.mkdir(parents=True)
    (zram / "mm_stat").write_text("0 0 0 0 0 0 0 0 0\n")
    (zram / "bd_stat").write_text("0 0 0\n")
    mounts = f"mount --bind {shlex.quote(str(tmp_path / 'vmstat'))} /proc/vmstat"
    mounts += f" && mount --bind {shlex.quote(str(tmp_path / 'block'))} /sys/block"
    return ["unshare", "-rm", "sh", "-c", f'{mounts} && exec "$0" "$@"', *probe]


@pytest.mark.parametrize(
    ("refaults", "counted"),
    [
        ("workingset_refault 258089\n", {"refault": 4000}),
        ("workingset_refault_anon 1000\nworkingset_refault_file 500\n", {"refault_anon": 0, "refault_file": 4000}),
        ("", {}),
    ],
    ids=["before-5.9", "5.9", "none"],
)
def test_refaults_of_a_kernel_that_counts_them_otherwise_or_not(
    tmp_path: Path, refaults: str, counted: dict[str, int]
) -> None:
    with served(on_kernel(tmp_path, [str(build("x86_64"))], COMMON.format(refaults=refaults, last=""))) as probe:
        probe.good("sample-start zram=0 interval_ms=10 duration_s=5")
        later = refaults.replace("258089", "262089").replace("refault_file 500", "refault_file 4500")
        (tmp_path / "vmstat").write_text(COMMON.format(refaults=later, last="oom_kill 3\n"))
        reply = probe.good(f"sample-stop out={tmp_path / 'samples'}")
    seen = {name: value for name, value in reply.items() if name.startswith("refault")}
    assert seen == ({"refault": 4000} | counted if counted else {})
    assert "oom_kill" not in reply
    assert reply["pswpin"] == 0
