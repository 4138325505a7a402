"""What many phones at once cost this computer, against one: CPU time of each run, and of the night around them.

Fake adb servers answer at once, so that what is counted is ours. ``python -m tests.farm_cost [PHONES [TRIPS]]``
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from farm.history.update import on_index
from tests.conftest import REPO
from tests.fake_adb_server import AdbServer
from tests.fake_farm import ledger, write_farm
from tests.fake_run import FOLDER
from tests.ready_phone import ready_shell

# As many as a run of plan quick makes.
TRIPS = 3000


@dataclass(frozen=True, slots=True)
class NightCost:
    """CPU seconds: the median of the runs, and the night's own, without its runs, for each phone."""

    phones: int
    run_s: float
    own_s: float


def cost_of(phones: int, trips: int, folder: Path, *, render: bool = True) -> NightCost:
    """Measure a night over so many phones at once. Its history is made before, as it is from the second night on."""
    serials = [f"P{number}" for number in range(phones)]
    with AdbServer(dict.fromkeys(serials, "device"), ready_shell({})) as server:
        how: dict[str, Any] = {serial: {"trips": trips, "render": render} for serial in serials}
        file = write_farm(folder, serials, more=f"at_once: {phones}", **how)
        (folder / "results").mkdir()
        on_index(folder / "results", lambda index, _: None)
        before = os.times()
        done = subprocess.run(
            [sys.executable, "-m", "tests.fake_farm", str(file), "--results", str(folder / "results")],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
            env=os.environ | {
                FOLDER: str(folder), "ZRAM_LAB_STATE": str(folder / "state"), "ZRAM_LAB_CACHE": str(folder / "cache"),
                "ANDROID_ADB_SERVER_PORT": str(server.port), "PYTHONPATH": str(REPO),
            },
        )  # fmt: skip
        after = os.times()
    if done.returncode:
        raise SystemExit(f"the night ended with exit status {done.returncode}\n{done.stdout}{done.stderr}")
    runs = [float(each["what"].partition(" ")[2]) for each in ledger(folder, "cpu ")]
    all_s = after.children_user + after.children_system - before.children_user - before.children_system
    return NightCost(phones, median(runs), (all_s - sum(runs)) / phones)


def main(argv: list[str]) -> int:
    """Print both, and their ratio."""
    phones, trips = (int(word) for word in [*argv, *("8", str(TRIPS))[len(argv) :]])
    found = []
    for number in (1, phones):
        with TemporaryDirectory(prefix="farm-cost-") as folder:
            found.append(cost_of(number, trips, Path(folder)))
        print(f"{number} at once: {found[-1].run_s:.2f} s CPU a run, the night's own {found[-1].own_s:.2f} s a phone")
    print(f"a run of {phones} at once costs {found[1].run_s / found[0].run_s:.3f} of one alone")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
