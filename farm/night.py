"""A night: each picked phone is claimed, looked at, measured, and tried again when it was the lab's fault.

One loop in one thread starts processes and takes their ends, the signals and the clock. Only the looks at phones have
threads, because they wait for phones. What the loop does next follows from the log alone (farm/night_log.py), so a
night that was killed goes on where it was.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from base.children import Children
from base.errors import EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_RESTORE_FAILED, LabError
from base.text import clean
from devices.profiles.reading import known
from farm.checkup import Check, Checkup, Fitness, check_phone
from farm.night_log import Kind, NightLog, PhoneEnd, PhoneNight, is_running, read_night
from farm.plans import expected_s, fitting_plan, quarantine_of
from farm.shelf import Shelf, ShelfPhone
from farm.standing import LastMeasured, Register, safe_name
from farm.window import Window
from records.reading import RECORDS, load

_CHECKS_AT_ONCE = 16
_TICK_S = 0.2
_RUN_LOG = "log.txt"
CANCELLED, WINDOW_OVER = "cancelled", "the window is over"
PROGRAM = (sys.executable, "-m", "commands", "run")

Say = Callable[[str], None]


@dataclass(slots=True)
class Job:
    """One phone on its way through the night. ``claim`` is the descriptor that holds it; ``not_before`` a time."""

    phone: ShelfPhone
    night: PhoneNight
    claim: int | None = None
    not_before: float = 0.0
    check: Future[Checkup] | None = None
    is_fit: bool = False
    child: subprocess.Popen[bytes] | None = None
    began_s: float = 0.0
    is_done: bool = False
    told_busy: bool = False


@dataclass(slots=True)
class Night:
    """Measures the phones of a log. ``program`` is what measures one phone, ``check`` what looks at one.

    ``pause_s`` is how long a phone rests that is in use or that the lab failed with. ``held`` counts claimed phones.
    """

    shelf: Shelf
    log: NightLog
    window: Window
    register: Register
    say: Say
    program: Sequence[str] = PROGRAM
    check: Check = check_phone
    pause_s: float = 20.0
    jobs: list[Job] = field(default_factory=list)
    held: int = 0

    def measure(self) -> None:
        """Measure until every phone is done, the window is over or a signal asks to end; phones are put back by then.

        Raises StorageFailed when the log cannot be written; what runs is ended before.
        """
        self._prepare()
        try:
            with ThreadPoolExecutor(_CHECKS_AT_ONCE) as pool, Children() as children:
                while any(not job.is_done for job in self.jobs):
                    self._watch_time(children)
                    for job in [job for job in self.jobs if not job.is_done]:
                        self._advance(job, children, pool)
                    if children.wait(_TICK_S) and not self.log.state.stopping:
                        self.log.add("stopping", why=CANCELLED)
                        self.say("a signal: no phone is begun any more; what runs puts its phone back")
        finally:
            for job in self.jobs:
                self._release(job)

    @property
    def folder(self) -> Path:
        """The night's folder."""
        return self.log.folder

    def _prepare(self) -> None:
        there = {phone.serial: phone for phone in self.shelf.farm.phones}
        for serial, night in self.log.state.phones.items():
            if serial in there:
                self.jobs.append(Job(there[serial], night))
            elif not night.skipped:
                self.log.add("skipped", phone=serial, end=PhoneEnd.refused, reason="no longer in the farm's file")

    def _watch_time(self, children: Children) -> None:
        if step_s := self.window.stepped_s():
            self.log.add("note", text=f"the clock was set by {step_s:+.0f} s: the window keeps its length")
        if self.window.left_s <= 0 and not self.log.state.stopping:
            self.log.add("stopping", why=WINDOW_OVER)
            self.say("the window is over: what runs is stopped and puts its phone back")
            children.send(signal.SIGINT)

    def _advance(self, job: Job, children: Children, pool: ThreadPoolExecutor) -> None:
        """Take one phone one step further, as far as that can be done now."""
        if job.child is not None:
            if job.child.poll() is not None:
                self._ended(job, job.child.returncode)
        elif job.check is not None:
            if job.check.done():
                self._looked_at(job, job.check.result())
        elif self.log.state.stopping:
            self._skip(job, PhoneEnd.cut, f"not begun: {self.log.state.stopping}")
        elif job.is_fit:
            self._start(job, children)
        elif time.monotonic() >= job.not_before and self._claimed(job) and not job.is_done:
            job.check = pool.submit(self.check, job.phone, self._plan_of(job))

    def _claimed(self, job: Job) -> bool:
        """Hold the phone, and settle what was before: another night's run, or an attempt of this night that was cut.

        No more phones are held than can be looked at and measured soon: another night may have the others.
        """
        if job.claim is None:
            if self.held >= self.shelf.farm.at_once + _CHECKS_AT_ONCE:
                return False
            job.claim = self.register.claim(job.phone.serial)
            if job.claim is None:
                if not job.told_busy:
                    self.say(f"{job.phone.serial}: another night has it, waiting")
                job.told_busy = True
                return False
            self.held += 1
            self._settle(job)
        return True

    def _settle(self, job: Job) -> None:
        serial, night = job.phone.serial, job.night
        if night.attempts and night.attempts[-1].status is None:
            self._recover(job)
        standing = self.register.of(serial)
        if not self._goes_on(job):
            return
        if reason := quarantine_of(standing):
            self._skip(job, PhoneEnd.quarantined, reason)
        elif not night.attempts and (last := standing.measured) and self._at_the_same_time(last):
            self.log.add("elsewhere", phone=serial, run=last.folder, status=last.status)
            self._done(job, f"measured by {Path(last.night).name} meanwhile")

    def _at_the_same_time(self, last: LastMeasured) -> bool:
        """Whether that night went on when this one was planned, so that this one need not measure the phone again."""
        planned, folder = self.log.state.planned, Path(last.night)
        if last.plan != planned["plan"] or folder == self.folder:
            return False
        if last.when >= str(planned["when"]) or is_running(folder):
            return True
        try:
            other = read_night(folder)
        except LabError:
            return False
        return other.done is not None and str(other.done["when"]) >= str(planned["when"])

    def _recover(self, job: Job) -> None:
        """What became of an attempt whose night was killed: its run says so itself, if it got to its end."""
        last = job.night.attempts[-1]
        run, status = run_in(self.folder / last.folder)
        is_whole = status not in (None, EXIT_INTERRUPTED)
        self.log.add(
            "ended", phone=job.phone.serial, status=status if is_whole else EXIT_INTERRUPTED, seconds=0.0,
            run=self._relative(run), reason="" if not status else "the night was cut off while it ran", counts=is_whole,
        )  # fmt: skip
        if last.kind in (Kind.passed, Kind.failed):
            self._note_measured(job)

    def _looked_at(self, job: Job, found: Checkup) -> None:
        job.check, serial = None, job.phone.serial
        if found.fitness is Fitness.in_use:
            self._release(job)
            job.not_before = time.monotonic() + self.pause_s
            if not job.told_busy:
                self.say(f"{serial}: {found.reason}, waiting")
            job.told_busy = True
            return
        self.log.add("looked_at", phone=serial, facts={**found.facts, "seconds": found.seconds})
        for note in found.notes:
            self.log.add("note", phone=serial, text=note)
        if reason := self._worn_out(found):
            with self.register.changing(serial, "worn out") as standing:
                standing.quarantined(reason, "nightly")
            self._skip(job, PhoneEnd.quarantined, reason)
            return
        if found.fitness is Fitness.fit:
            job.is_fit = True
            with self.register.changing(serial, "passed") as standing:
                standing.passed()
            return
        self.log.add("unfit", phone=serial, status=found.status, reason=clean(found.reason))
        self._after_attempt(job)

    def _worn_out(self, found: Checkup) -> str:
        """Why the phone's storage is to be spared for good, by what its UFS says of its life."""
        limit, said = self.shelf.farm.budget.life_time, str(found.facts.get("ufs_life_time_estimation_a") or "")
        life = int(said, 16) if re.fullmatch(r"(0x)?[0-9a-fA-F]{1,4}", said) else None
        if limit is None or life is None or life < limit:
            return ""
        return f"its storage says life_time_estimation_a {said}, budget.life_time is {limit:#04x}"

    def _plan_of(self, job: Job) -> str:
        """The night's plan, or the shorter one that spares this phone's storage."""
        planned = self.log.state.planned
        return str(planned.get("plans", {}).get(job.phone.serial, planned["plan"]))

    def _start(self, job: Job, children: Children) -> None:
        """Begin a run when there is a place for it, and a plan that fits into what is left of the window."""
        if sum(each.child is not None for each in self.jobs) >= self.shelf.farm.at_once:
            return
        serial, wanted = job.phone.serial, self._plan_of(job)
        standing = self.register.of(serial)
        if not (plan := fitting_plan(standing, wanted, self.window.left_s)):
            needs = f"{expected_s(standing, 'quick') / 60:.0f} min for plan quick"
            self._skip(job, PhoneEnd.cut, f"{needs}, {self.window.left_s / 60:.0f} min are left of the window")
            return
        if plan != wanted:
            self.log.add("note", phone=serial, text=f"plan {plan} instead of {wanted}, which does not fit any more")
        number = len(job.night.attempts) + 1
        folder = f"runs/{safe_name(serial)}-{number}"
        self.log.add("started", phone=serial, plan=plan, folder=folder)
        try:
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
            with (self.folder / folder / _RUN_LOG).open("wb") as output:
                job.child = children.start(
                    [*self.program, "--device", device_of(job.phone), "--plan", plan, "--results",
                     str(self.folder / folder)],
                    output=output, keep=[job.claim] if job.claim is not None else [], env=_environment(job.phone),
                )  # fmt: skip
        except OSError as error:
            self._record(job, EXIT_REFUSED, f"no process could be started: {error}")
            return
        job.began_s, job.is_fit = time.monotonic(), False
        self.say(f"{serial}: begins, plan {plan}{f', attempt {number}' if number > 1 else ''}")

    def _ended(self, job: Job, status: int) -> None:
        job.child = None
        self._record(job, status, "")

    def _record(self, job: Job, status: int, reason: str) -> None:
        last = job.night.attempts[-1]
        run, _ = run_in(self.folder / last.folder)
        seconds = round(time.monotonic() - job.began_s, 1) if job.began_s else 0.0
        if status:
            reason = reason or _last_words(self.folder / last.folder / _RUN_LOG, status)
        elif run is None:
            status, reason = EXIT_REFUSED, "it ended well and left no run: nothing was recorded"
        self.log.add(
            "ended", phone=job.phone.serial, status=status, seconds=seconds, run=self._relative(run), reason=reason
        )
        if last.kind in (Kind.passed, Kind.failed):
            self._note_measured(job)
        self._after_attempt(job)

    def _after_attempt(self, job: Job) -> None:
        """What an attempt means for the phone's standing, and whether there is another one."""
        last, serial = job.night.attempts[-1], job.phone.serial
        run = str(self.folder / last.run) if last.run else ""
        if last.status == EXIT_RESTORE_FAILED:
            with self.register.changing(serial, "not restored", run=run) as standing:
                standing.quarantined(f"it could not be put back as it was: {last.reason}", "nightly", run)
        elif last.kind is Kind.infra and not self.log.state.stopping:
            if not job.night.again(self.shelf.farm.retry.infra, 0):
                with self.register.changing(serial, "lost", run=run) as standing:
                    standing.lost(self.log.state.night, last.reason, run)
            job.not_before = time.monotonic() + self.pause_s
        self._goes_on(job)

    def _goes_on(self, job: Job) -> bool:
        """Whether the phone is tried once more; one that is not is given back."""
        retry = self.shelf.farm.retry
        if job.night.again(retry.infra, retry.product) and not self.log.state.stopping:
            return True
        self._done(job, job.night.why.splitlines()[0] if job.night.why else "")
        return False

    def _note_measured(self, job: Job) -> None:
        last, folder = job.night.attempts[-1], str(self.folder)
        with self.register.changing(job.phone.serial, "measured") as standing:
            standing.passed()
            if last.seconds:
                standing.took(last.plan, last.seconds)
            plan = str(self.log.state.planned["plan"])
            standing.measured = LastMeasured(folder, plan, str(self.folder / last.run), last.status or 0, last.ended)

    def _skip(self, job: Job, end: PhoneEnd, reason: str) -> None:
        self.log.add("skipped", phone=job.phone.serial, end=end, reason=reason)
        self._done(job, reason)

    def _done(self, job: Job, why: str) -> None:
        job.is_done = True
        self._release(job)
        self.say(f"{job.phone.serial}: {job.night.end}{f': {why}' if why else ''}")

    def _release(self, job: Job) -> None:
        if job.claim is not None:
            os.close(job.claim)
            job.claim = None
            self.held -= 1

    def _relative(self, run: Path | None) -> str:
        return str(run.relative_to(self.folder)) if run else ""


def run_in(folder: Path) -> tuple[Path | None, int | None]:
    """The run that an attempt left in its folder, and how it ended; None for what is not there.

    One attempt has one run; of more, which nobody made, the last.
    """
    found: tuple[Path | None, int | None] = (None, None)
    for path in sorted(folder.glob(f"*/{RECORDS}")):
        with suppress(LabError):
            end = load(path.parent).end
            found = path.parent, end.exit_status if end else None
    return found


def device_of(phone: ShelfPhone) -> str:
    """What ``./lab run --device`` calls it: its profile, whose phone ANDROID_SERIAL then names, or its serial."""
    return phone.profile or phone.serial


def _environment(phone: ShelfPhone) -> Mapping[str, str]:
    return {**os.environ, "ANDROID_SERIAL": phone.serial} if phone.serial not in known() else dict(os.environ)


def _last_words(log: Path, status: int) -> str:
    """What a run told at last: the lines of its last message, or that it was killed."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    try:
        lines = clean(log.read_text(encoding="utf-8", errors="replace")).splitlines()[-200:]
    except OSError:
        lines = []
    told = [number for number, line in enumerate(lines) if line.startswith("lab: ")]
    if told:
        first, *more = lines[told[-1] :]
        return "\n".join([first.removeprefix("lab: "), *(line for line in more[:1] if line.startswith("  -> "))])
    return next((line.strip() for line in reversed(lines) if line.strip()), f"exit status {status}")
