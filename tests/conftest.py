"""One virtual phone for all tests that can share it, and a state folder that is nobody's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from base.units import MIB
from devices.adb import AdbTransport, RootStyle
from devices.virtual.phone import RunningPhone, VirtualPhoneConfig, start

if TYPE_CHECKING:
    from reports.render import Rendered

REPO = Path(__file__).resolve().parent.parent
_IN_MEMORY = Path("/dev/shm")
# All machines: gigabytes and an hour; builds of modules: 250 MB.
_ON_DEMAND = ("machines", "builds")
_GONE = ("ANDROID_SERIAL", "ZRAM_LAB_PROFILES")


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """A run within the tests' process may end by ignoring signals: a later test's children would ignore them too."""
    asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in asked}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Journals, leases and phones of whoever runs the tests are left alone, and so are the variables that name a phone.

    A module that needs a state folder of its own sets the variable again.
    """
    with pytest.MonkeyPatch.context() as patch:
        state = tmp_path_factory.mktemp("state")
        patch.setenv("ZRAM_LAB_STATE", str(state))
        for name in _GONE:
            patch.delenv(name, raising=False)
        yield state


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A folder for this scope, in memory where the host has a place for such files.

    A journal waits for the disk at each of its lines, so a test that cuts the cable at every command would wait for
    most of its time.
    """
    where = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
    with TemporaryDirectory(dir=where, prefix="zram-lab-test-") as folder:
        yield Path(folder)


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A folder of this test alone, in memory."""
    with folder_in_memory() as folder:
        yield folder


@pytest.fixture(scope="session")
def produced_run() -> Iterator[Path]:
    """The folder of a run of every workload on a fake phone; whoever changes something in it takes a copy."""
    from tests import produced_run

    with folder_in_memory() as folder:
        yield produced_run.write_run(folder)


@pytest.fixture(scope="session")
def produced_report(produced_run: Path) -> Rendered:
    """The same run as it is rendered."""
    from reports.render import render_all

    return render_all(produced_run)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that fetch much or take long run when they are asked for by their mark."""
    asked = config.getoption("-m")
    left_out = [item for item in items if any(item.get_closest_marker(m) and m not in asked for m in _ON_DEMAND)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


class Shelf:
    """At most one running phone. A test that kills it leaves the next one to boot it again."""

    config = VirtualPhoneConfig(name="shelf", memory_bytes=1024 * MIB, ufs_bytes=2048 * MIB)

    def __init__(self, state: Path) -> None:
        self._state = state
        self._phone: RunningPhone | None = None

    def phone(self) -> RunningPhone:
        """The running phone, booted now if there is none."""
        if self._phone is None or self._phone.died():
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("ZRAM_LAB_STATE", str(self._state))
                self._phone = start(self.config, progress=lambda text: print(text, file=sys.stderr))
        return self._phone

    def clear(self) -> None:
        """Nothing runs any more; the phone's disks stay."""
        if self._phone is not None:
            self._phone.stop()
            self._phone = None


@pytest.fixture(scope="session")
def shelf(own_state: Path) -> Iterator[Shelf]:
    shelf = Shelf(own_state)
    yield shelf
    shelf.clear()


@pytest.fixture
def phone(shelf: Shelf) -> RunningPhone:
    """A virtual phone that runs; in use before and after by other tests, which put back what they change."""
    return shelf.phone()


@pytest.fixture
def transport(phone: RunningPhone) -> AdbTransport:
    """Root's connection to the phone."""
    return AdbTransport(phone.serial, root=RootStyle.su_c)


def lab_command(*argv: str) -> list[str]:
    return [str(REPO / "lab"), *argv]


def lab(
    *argv: str, timeout: float = 60, env: Mapping[str, str] | None = None, cwd: Path = REPO
) -> subprocess.CompletedProcess[str]:
    """A command of ``./lab``, to its end."""
    return subprocess.run(
        lab_command(*argv), cwd=cwd, env={**os.environ, **(env or {})}, timeout=timeout,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


@contextmanager
def lab_started(*argv: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command of ``./lab`` while it runs; what it says goes to ``log``. It does not outlive the scope."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            lab_command(*argv), cwd=REPO, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
