"""pytest options and the life of a run: phone, results folder, restore. Wiring only."""

from __future__ import annotations

import os
import re
import resource
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import pytest
from _pytest.junitxml import xml_key
from _pytest.outcomes import Exit

from base.errors import EXIT_DEVICE_LOST, CapabilityMissing, DeviceLost, LabError, ProfileError
from devices.android.writers import stop_writers
from devices.device import Device
from devices.phone import Phone, Target, open_phone, resolve_target
from devices.profiles.profile import Profile
from records.model import Caveat, End, Provenance, RunResult, Session, TestOutcome
from records.writing import RunFolder, check_writable
from reports.progress import ProgressBar
from workloads.compressors import Compressor, compressors
from workloads.provenance import provenance
from workloads.stage import Stage, set_stage

ROOT = Path(__file__).resolve().parent


@dataclass(slots=True)
class LabRun:
    """One run on one phone, from the open phone to the last record."""

    phone: Phone
    profile: Profile
    plan: str
    seed: int
    folder: RunFolder
    stage: Stage
    stack: ExitStack
    bar: ProgressBar
    began_s: float
    provenance: Provenance
    lost: str = ""
    kernel_log: str = ""
    kernel_noted: list[str] = field(default_factory=list)

    @property
    def device(self) -> Device:
        return self.phone.device

    def compressors(self) -> list[Compressor]:
        wanted, offered = self.profile.compressors.algorithms, self.provenance.zram["algorithms"]
        has_both = self.stage.zram.compressed_writeback() is not None
        return compressors(offered if wanted == "auto" else wanted, has_compressed_writeback=has_both)

    def record(self, result: RunResult) -> None:
        self.folder.append(result)

    def step(self, what: str) -> None:
        self.bar.step(what)

    def expect(self, steps: int) -> None:
        self.bar.total(steps)

    def keep_kernel_log(self, log: str) -> None:
        (self.folder.path / "kernel.log").write_text(log, encoding="utf-8", errors="backslashreplace")


class LabExit(Exit):
    """Ends pytest with a message for people and an exit status of ours; pytest prints it as ``lab: message``."""


LabExit.__module__, LabExit.__qualname__ = "builtins", "lab"

LAB: pytest.StashKey[LabRun] = pytest.StashKey()
TARGET: pytest.StashKey[Target] = pytest.StashKey()
BEGAN: pytest.StashKey[float] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("zram writeback lab")
    group.addoption("--device", action="append", default=[], metavar="SERIAL|PROFILE|virtual",
                    help="phone to measure on; repeatable; else $ANDROID_SERIAL, else the virtual phone")  # fmt: skip
    group.addoption("--kernel", action="append", default=[], choices=["6.12", "7.3"],
                    help="kernel of the virtual phone; two of them: both are measured and compared")  # fmt: skip
    group.addoption("--plan", choices=["quick", "standard", "nightly"], default="quick", help="how much to measure")
    group.addoption("--batch-sizes", metavar="1,8,32", help="batch sizes of the sweep instead of the profile's")
    group.addoption("--repeats", type=int, help="repeats of each point instead of the profile's")
    group.addoption("--seed", type=int, help="seed of every random choice; default: a new one, recorded")
    group.addoption("--results", type=Path, metavar="DIR", help="folder for the run's folder; default: results/")


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """With several phones or kernels: a process and a results folder for each."""
    devices: list[str] = config.getoption("--device")
    if len(config.getoption("--kernel")) > 1:
        return _measure_kernels(config)
    if len(devices) < 2:
        return None
    if twice := sorted({name for name in devices if devices.count(name) > 1}):
        raise pytest.UsageError(f"--device {twice[0]}: named twice; a phone runs one measurement at a time")
    base = [sys.executable, "-m", "pytest", *_without(config, "--device")]
    children = [subprocess.Popen([*base, "--device", name]) for name in devices]
    statuses = [child.wait() for child in children]
    for name, status in zip(devices, statuses, strict=True):
        print(f"{name}: exit status {status}")
    return next((status for status in statuses if status), 0)


def _measure_kernels(config: pytest.Config) -> int:
    """One kernel after the other, because they share the machine, then the first against the second."""
    kernels: list[str] = config.getoption("--kernel")
    if len(kernels) > len(set(kernels)) or len(config.getoption("--device")) > 1:
        raise pytest.UsageError(f"--kernel {' --kernel '.join(kernels)}: takes two different kernels and one phone")
    seed = config.getoption("--seed")
    # The same random choices on both, so that nothing but the kernel differs.
    seed = secrets.randbelow(2**31) if seed is None else seed
    folder = _results_dir(config) / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{'-'.join(kernels)}"
    base = [sys.executable, "-m", "pytest", *_without(config, "--kernel", "--seed", "--results"), "--seed", str(seed)]
    statuses: list[int] = []
    for kernel in kernels:
        child = subprocess.Popen([*base, "--kernel", kernel, "--results", str(folder / kernel)])
        try:
            statuses.append(child.wait())
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)  # only a terminal's Ctrl-C reaches it by itself
            statuses.append(child.wait())
        if statuses[-1] not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            return statuses[-1]
    statuses.append(_compare_kernels(folder, *kernels))
    return next((status for status in statuses if status), 0)


def _compare_kernels(folder: Path, base: str, cand: str) -> int:
    from reports.comparison.render import report_comparison

    sides = (f"{folder}/{base}/*", f"{folder}/{cand}/*")
    try:
        report_comparison(*sides, form="html", out=folder / "compare.html")
        return report_comparison(*sides, form="table")
    except LabError as error:
        print(error.for_people(), file=sys.stderr)
        return error.exit_status


def _without(config: pytest.Config, *options: str) -> list[str]:
    """What this process was called with, but for these options and their values."""
    kept: list[str] = []
    words = iter(map(str, config.invocation_params.args))
    for word in words:
        if word in options:
            next(words, None)
        elif not word.startswith(tuple(f"{option}=" for option in options)):
            kept.append(word)
    return kept


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "capability(name): needs a capability of the phone")
    config.addinivalue_line("markers", "kills_apps: an app that the kernel kills for lack of memory is no failure")
    config.addinivalue_line("markers", "steps(count=F): F(stage, **parameters) is how many steps the test reports")
    if not _measures(config):
        return
    if not config.option.xmlpath:
        # pytest decides now whether it writes one; where to is known when the run's folder is.
        config.option.xmlpath = os.devnull
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    config.stash[BEGAN] = time.monotonic()
    devices: list[str] = config.getoption("--device")
    try:
        check_writable(_results_dir(config))
        kernel = next(iter(config.getoption("--kernel")), None)
        target = resolve_target(devices[0] if devices else None, kernel=kernel)
        config.stash[TARGET] = target.planned(
            plan=config.getoption("--plan"),
            batch_sizes=_numbers(config.getoption("--batch-sizes")),
            repeats=config.getoption("--repeats"),
        )
    except ProfileError as error:
        raise pytest.UsageError(error.for_people()) from error
    except LabError as error:
        raise LabExit(error.for_people(), error.exit_status) from None


def _results_dir(config: pytest.Config) -> Path:
    chosen: Path | None = config.getoption("--results")
    return chosen or ROOT / "results"


def _measures(config: pytest.Config) -> bool:
    """True when the suites are what runs, not the self-tests."""
    wanted = [Path(str(arg).split("::")[0]).resolve() for arg in config.args]
    return any(path == ROOT / "suites" or ROOT / "suites" in path.parents for path in wanted)


def _numbers(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise ProfileError(f"--batch-sizes {text}: not a list of numbers", hint="for example 1,8,32") from None


def _interrupted(number: int, frame: FrameType | None) -> None:
    """The first signal ends the run; later ones are ignored until everything is put back, which has deadlines."""
    _shield()
    raise KeyboardInterrupt


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Open the phone before tests are collected: which points there are depends on it."""
    config = session.config
    if TARGET not in config.stash or config.option.collectonly:
        return
    terminal = os.fdopen(os.dup(1), "w", encoding="utf-8")
    bar = ProgressBar(terminal)
    stack = ExitStack()
    stack.callback(terminal.close)
    try:
        _open_run(config, stack, bar)
    except BaseException as error:
        bar.close()
        _shield()
        stack.close()
        if isinstance(error, LabError):
            raise LabExit(error.for_people(), error.exit_status) from None
        raise


def _open_run(config: pytest.Config, stack: ExitStack, bar: ProgressBar) -> None:
    target = config.stash[TARGET]
    seed = config.getoption("--seed")
    seed = secrets.randbelow(2**31) if seed is None else seed
    run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}"
    phone = stack.enter_context(open_phone(target, run_id=run_id, say=bar.say))
    profile = phone.profile
    missing = sorted(set(map(str, profile.must_have)) - set(map(str, phone.device.capabilities)))
    if missing:
        raise CapabilityMissing(
            f"{phone.device.serial}: profile {profile.name} promises {', '.join(missing)}, the phone does not have it",
            hint="correct must_have in the profile, or boot a kernel that has it",
        )
    folder = RunFolder.create(_results_dir(config), target.name, datetime.now(UTC))
    phone.transcript.write_to(folder.path / "transcript.log")
    if config.option.xmlpath == os.devnull:
        config.stash[xml_key].logfile = str(folder.path / "junit.xml")
    bar.say(f"results: {folder.path}")
    changes = stack.enter_context(phone.device.changes())
    silenced = stop_writers(changes)
    stage = set_stage(changes, profile)
    facts = provenance(stage, phone, ROOT)
    caveats = [Caveat.virtual] if facts.virtual else []
    if facts.virtual and facts.accelerator == "tcg":
        caveats.append(Caveat.emulated_cpu)
    if facts.virtual and os.getloadavg()[0] > (os.cpu_count() or 1) * 0.75:
        caveats.append(Caveat.noisy_host)
    if silenced.unstopped:
        bar.say(f"these write zram pages back when they please, and cannot be stopped: {', '.join(silenced.unstopped)}")
        caveats.append(Caveat.unstopped_writer)
    if getattr(phone.device.transport, "clock_missing", False):
        caveats.append(Caveat.phone_clock_missing)
    run = LabRun(
        phone, profile, config.getoption("--plan"), seed, folder, stage, stack, bar, config.stash[BEGAN], facts
    )
    folder.append(
        Session(folder.run_id, datetime.now(UTC).isoformat(), run.plan, seed, list(config.args), facts, caveats)
    )
    config.stash[LAB] = run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: pytest.TestReport = yield  # type: ignore[assignment]
    run = item.config.stash.get(LAB, None)
    if run is not None:
        _note(run, item, call, report)
    return report  # type: ignore[return-value]


def _note(run: LabRun, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, DeviceLost) and not run.lost:
        run.lost = run.phone.why_lost() or str(error)
        item.session.shouldstop = f"phone lost: {run.lost}"
    if isinstance(error, LabError):
        report.longrepr = f"{type(error).__name__}: {error.for_people()}"
    if report.when == "call" or report.outcome != "passed":
        outcome = {"setup": "error", "teardown": "error"}.get(report.when, "failed")
        title = (getattr(item, "function", item).__doc__ or item.name).strip().splitlines()[0]
        reason = "" if report.passed else str(error or report.longrepr)[:2000]
        status = report.outcome if report.outcome != "failed" else outcome
        run.folder.append(TestOutcome(item.name, title, status, reason, report.duration))


def _shield() -> None:
    """From here on the phone is being put back: further signals wait for nothing, they are ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Iterator[None]:
    """Innermost of the wrappers: what an interrupted test still holds is torn down while the phone is there."""
    run = session.config.stash.get(LAB, None)
    if run is None:
        yield
        return
    _shield()
    end_facts: dict[str, object] = {"lost": run.lost} if run.lost else {}
    try:
        yield
    except (LabError, AssertionError) as error:
        end_facts["teardown_failed"] = str(error)
        print(f"\n{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        _finish(session, run, int(exitstatus), end_facts)


def _finish(session: pytest.Session, run: LabRun, exitstatus: int, end_facts: dict[str, object]) -> None:
    """Puts the phone back and writes the last record."""
    run.bar.close()
    status = EXIT_DEVICE_LOST if run.lost else exitstatus
    restore_began = time.monotonic()
    wire = run.device.transport.wire
    try:
        run.stack.close()
    except LabError as error:
        status = status if run.lost else error.exit_status
        end_facts["restore_failed"] = str(error)
        print(f"\n{type(error).__name__}: {error.for_people()}", file=sys.stderr)
    total = time.monotonic() - run.began_s
    boot, image = run.phone.boot_s, run.phone.image_build_s
    on_wire = wire.total_s - wire.on_phone_s
    phone_s = wire.on_phone_s
    used = resource.getrusage(resource.RUSAGE_SELF)
    end_facts |= {"round_trips": wire.trips, "restore_s": time.monotonic() - restore_began}
    if run.phone.transcript.problem:
        end_facts["transcript_problem"] = run.phone.transcript.problem
        print(f"\n{run.phone.transcript.problem}", file=sys.stderr)
    if wire.doubted:
        end_facts |= {"phone_clock_doubted": wire.doubted, "phone_clock_doubt": wire.doubt}
    if run.kernel_noted:
        end_facts["kernel_noted"] = Counter(re.sub(r"^\W*[\d.]+\W*", "", line) for line in run.kernel_noted)
    end_facts["host_cpu_s"] = used.ru_utime + used.ru_stime
    host = total - phone_s - on_wire - image - boot
    split = {"total": total, "phone": phone_s, "wire": on_wire, "host": host, "boot": boot, "image_build": image}
    session.exitstatus = status
    run.folder.append(End(status, datetime.now(UTC).isoformat(), split, end_facts))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    run = config.stash.get(LAB, None)
    if run is None:
        return
    from reports.render import render_all

    try:
        rendered = render_all(run.folder.path)
    except LabError as error:
        terminalreporter.write_line(error.for_people())
        return
    terminalreporter.write_line("")
    terminalreporter.write_line(rendered.text)
    terminalreporter.write_line(f"report: {rendered.paths['html']}")
