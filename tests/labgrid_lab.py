"""A labgrid coordinator and an exporter on loopback, over phones of a fake adb server.

``python -m tests.labgrid_lab`` prints what engine labgrid adds to the run of a phone: from opening the pool until the
phone is given back, against engine local.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from base.deadline import Deadline, wait_until
from base.errors import EnvironmentRefused
from farm.place_keeper import PlaceKeeper, PlaceNow
from farm.pool import open_pool
from farm.shelf import read_shelf
from farm.standing import Register
from tests.conftest import REPO
from tests.fake_adb_server import AdbServer
from tests.ready_phone import ready_answers, ready_shell

PHONES = ("P1", "P2", "P3")
_READY_S = 30.0


@dataclass
class LabgridLab:
    """What runs, and how to end it. ``adb`` has the phones."""

    folder: Path
    adb: AdbServer
    port: int
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=os.environ | {"PYTHONPATH": str(REPO), "PYTHONSAFEPATH": "1"},
            )  # fmt: skip

    def start_coordinator(self) -> None:
        self.start("coordinator", sys.executable, "-m", "commands", "farm", "coordinator", "--listen", self.address)

    def start_exporter(self) -> None:
        options = ("--coordinator", self.address, "--every", "0.2")
        self.start(
            "exporter", sys.executable, "-m", "commands", "farm", "exporter", str(self.folder / "phones.yaml"), *options
        )

    def end(self, name: str, number: int = signal.SIGKILL) -> None:
        process = self.running.pop(name)
        process.send_signal(number)
        process.wait(20)

    def client(self, *words: str, owner: str = "person/ada") -> subprocess.CompletedProcess[str]:
        """labgrid's own program, as that owner."""
        host, _, user = owner.partition("/")
        program = Path(sysconfig.get_path("scripts")) / "labgrid-client"
        return subprocess.run(
            [program, "-x", self.address, *words], capture_output=True, text=True, timeout=30, check=False,
            env=os.environ | {"LG_HOSTNAME": host, "LG_USERNAME": user},
        )  # fmt: skip

    def place(self, keeper: PlaceKeeper, name: str) -> PlaceNow | None:
        """A place as it is now; None while the coordinator is away."""
        try:
            return keeper.place(name)
        except EnvironmentRefused:
            return None

    def until_offered(self, keeper: PlaceKeeper, *names: str, there: bool = True) -> None:
        """Wait until these phones are offered, and said to be there or not."""

        def is_offered() -> bool:
            found = [self.place(keeper, name) for name in names]
            return all(place and [each.is_there for each in place.resources] == [there] for place in found)

        wait_until(f"{names} with there={there}", is_offered, Deadline.after(_READY_S))

    def farm(self, *, grace: str = "10min", pick: str = "P1", more: str = "") -> str:
        """The lines of a farm's file that name this coordinator."""
        engine = f"engine: {{labgrid: {{coordinator: '{self.address}', grace: {grace}}}}}"
        return "\n".join((engine, f"pick: [{{serial: {pick}}}]", more))


def _free_port() -> int:
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        return int(asking.getsockname()[1])


def _stored_place(name: str) -> dict[str, Any]:
    match = {"exporter": "*", "group": name, "cls": "LabAdbPhone", "name": None, "rename": None}
    return {"aliases": [], "comment": "", "tags": {"rack": "a"}, "matches": [match], "created": 0.0, "changed": 0.0}


@contextmanager
def labgrid_lab(folder: Path) -> Iterator[LabgridLab]:
    """Start both. The places are stored already, as a coordinator has them that ran for a quarter of a minute."""
    state = Path(os.environ["ZRAM_LAB_STATE"]) / "farm/coordinator"
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    (state / "places.yaml").write_text(yaml.safe_dump({name: _stored_place(name) for name in PHONES}))
    with AdbServer(dict.fromkeys((*PHONES, "P4"), "device"), ready_shell(ready_answers("P1"))) as adb:
        lab = LabgridLab(folder, adb, _free_port())
        told = {
            name: {"LabAdbPhone": {"serial": name, "server": f"127.0.0.1:{adb.port}", "tags": {"rack": "b"}}}
            for name in (*PHONES, "P4")
        }
        (folder / "phones.yaml").write_text(yaml.safe_dump(told))
        try:
            lab.start_coordinator()
            lab.start_exporter()
            yield lab
        finally:
            for name in list(lab.running):
                lab.end(name)


def engine_cost(folder: Path) -> dict[str, tuple[float, float]]:
    """Wall and CPU seconds of one phone's claim and release, with all that a night needs for it, by engine."""
    found = {}
    with labgrid_lab(folder) as lab:
        with _patient_keeper(lab) as keeper:
            lab.until_offered(keeper, *PHONES)
        head = "farm: cost\nplan: quick\n"
        for name, lines in (("local", "phones: [{serial: P1}]\n"), ("labgrid", lab.farm() + "\n")):
            (folder / "cost.yaml").write_text(head + lines)
            wall_s, cpu_s = time.monotonic(), time.process_time()
            with open_pool(read_shelf(folder / "cost.yaml"), Register()) as (shelf, pool):
                claim = pool.claim(shelf.phone("P1"))
                assert claim
                claim.release()
            found[name] = time.monotonic() - wall_s, time.process_time() - cpu_s
    return found


@contextmanager
def _patient_keeper(lab: LabgridLab) -> Iterator[PlaceKeeper]:
    """Connect as soon as the coordinator listens."""
    wait_until("the coordinator", lambda: is_listening(lab.port), Deadline.after(_READY_S))
    with PlaceKeeper(lab.address, 60.0) as keeper:
        yield keeper


def is_listening(port: int) -> bool:
    """Whether anything listens there."""
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    with TemporaryDirectory(prefix="labgrid-") as scratch:
        os.environ["ZRAM_LAB_STATE"] = scratch
        for engine, (wall, cpu) in engine_cost(Path(scratch)).items():
            print(f"engine {engine}: {wall:.2f} s, {cpu:.2f} s of them CPU")
