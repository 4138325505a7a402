"""A night: each picked phone is claimed, looked at, measured, and tried again when it was the lab's fault.

One loop in one thread starts processes and takes their ends, the signals and the clock. Only the looks at phones have
threads, because they wait for phones. What the loop does next follows from the log alone (farm/night_log.py), so a
night that was killed goes on where it was.
"""

from __future__ import annotations

import math
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from base.children import Children
from base.errors import EXIT_DEVICE_LOST, EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_RESTORE_FAILED, LabError
from base.text import clean
from devices.profiles.what_is_measured import Plan
from farm.checkup import Check, Checkup, Fitness, check_phone
from farm.night_log import Kind, NightLog, PhoneEnd, PhoneNight, is_running, read_night
from farm.night_runs import device_of, environment_of, last_words, run_in
from farm.plans import expected_s, fitting_plan, quarantine_of, week_of
from farm.pool import Claim, LocalPool, Pool
from farm.shelf import Shelf, ShelfPhone
from farm.standing import LastMeasured, Register, safe_name
from farm.window import Window

_CHECKS_AT_ONCE = 16
_TICK_S = 0.2
_RUN_LOG = "log.txt"
CANCELLED, WINDOW_OVER = "cancelled", "the window is over"
PROGRAM = (sys.executable, "-m", "commands", "run")

Say = Callable[[str], None]


@dataclass(slots=True)
class Job:
    """One phone on its way through the night. ``claim`` holds it; ``not_before`` is a time.

    ``lost`` is why the claim was lost while the phone was measured.
    """

    phone: ShelfPhone
    night: PhoneNight
    claim: Claim | None = None
    not_before: float = 0.0
    check: Future[Checkup] | None = None
    is_fit: bool = False
    child: subprocess.Popen[bytes] | None = None
    began_s: float = 0.0
    lost: str = ""
    is_done: bool = False
    told_busy: bool = False


@dataclass(slots=True)
class Night:
    """Measures the phones of a log. ``program`` is what measures one phone, ``check`` what looks at one.

    ``pause_s`` is how long a phone rests that is in use or that the lab failed with. ``held`` counts claimed phones.
    ``pool`` is what they are claimed from: this computer's locks where none is named.
    """

    shelf: Shelf
    log: NightLog
    window: Window
    register: Register
    say: Say
    program: Sequence[str] = PROGRAM
    check: Check = check_phone
    pause_s: float = 20.0
    pool: Pool | None = None
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
    def _pool(self) -> Pool:
        return self.pool or LocalPool(self.register)

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
            elif not job.lost and job.claim and (lost := job.claim.lost()):
                job.lost = lost
                self.say(f"{job.phone.serial}: {lost}: its run is stopped and puts it back")
                job.child.send_signal(signal.SIGINT)
        elif job.check is not None:
            if job.check.done():
                self._looked_at(job, job.check.result())
        elif self.log.state.stopping:
            self._skip(job, PhoneEnd.cut, f"not begun: {self.log.state.stopping}")
        elif job.is_fit and job.claim and job.claim.lost():
            job.is_fit = False
            self._release(job)
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
            try:
                job.claim = self._pool.claim(job.phone)
            except LabError as error:
                self.log.add("unfit", phone=job.phone.serial, status=EXIT_REFUSED, reason=clean(error.for_people()))
                self._after_attempt(job)
                return False
            if job.claim is None:
                if not job.told_busy:
                    self.say(f"{job.phone.serial}: another one has it, waiting")
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
        left_s = self.window.left_s
        shared = fitting_plan(standing, wanted, left_s - self._left_for_others_s(job))
        if not (plan := shared or fitting_plan(standing, Plan.quick, left_s)):
            needs = f"{expected_s(standing, 'quick') / 60:.0f} min for plan quick"
            self._skip(job, PhoneEnd.cut, f"{needs}, {self.window.left_s / 60:.0f} min are left of the window")
            return
        if plan != wanted:
            fits = (
                "leaves no time for phones that wait"
                if fitting_plan(standing, wanted, left_s)
                else "does not fit any more"
            )
            self.log.add("note", phone=serial, text=f"plan {plan} instead of {wanted}, which {fits}")
        number = len(job.night.attempts) + 1
        folder = f"runs/{safe_name(serial)}-{number}"
        self.log.add("started", phone=serial, plan=plan, folder=folder)
        try:
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
            with (self.folder / folder / _RUN_LOG).open("wb") as output:
                job.child = children.start(
                    [*self.program, "--device", device_of(job.phone), "--plan", plan, "--results",
                     str(self.folder / folder)],
                    output=output, keep=[job.claim.descriptor] if job.claim else [], env=environment_of(job.phone),
                )  # fmt: skip
        except OSError as error:
            self._record(job, EXIT_REFUSED, f"no process could be started: {error}")
            return
        job.began_s, job.is_fit = time.monotonic(), False
        self.say(f"{serial}: begins, plan {plan}{f', attempt {number}' if number > 1 else ''}")

    def _left_for_others_s(self, job: Job) -> float:
        """What of the window the phones need that must wait for a place: plan quick for each."""
        running = sum(each.child is not None for each in self.jobs)
        others = [each for each in self.jobs if not each.is_done and each.child is None and each is not job]
        waiting = others[max(0, self.shelf.farm.at_once - running - 1) :]
        needs = [expected_s(self.register.of(each.phone.serial), Plan.quick) for each in waiting]
        return math.ceil(len(needs) / self.shelf.farm.at_once) * max(needs, default=0.0)

    def _ended(self, job: Job, status: int) -> None:
        job.child, lost = None, job.lost
        if lost:
            job.lost = ""
            self._release(job)
        is_stopped = bool(lost) and status == EXIT_INTERRUPTED
        self._record(job, EXIT_DEVICE_LOST if is_stopped else status, lost if is_stopped else "")

    def _record(self, job: Job, status: int, reason: str) -> None:
        last = job.night.attempts[-1]
        run, _ = run_in(self.folder / last.folder)
        seconds = round(time.monotonic() - job.began_s, 1) if job.began_s else 0.0
        if status:
            reason = reason or last_words(self.folder / last.folder / _RUN_LOG, status)
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
        if retry.equal_phone and job.night.end in (PhoneEnd.lost, PhoneEnd.refused) and not self.log.state.stopping:
            self._stand_in_for(job)
        return False

    def _stand_in_for(self, job: Job) -> None:
        """Measure an equal phone of the shelf instead, once, where there is one that was not picked and may be used."""
        serial, phones = job.phone.serial, self.log.state.phones
        if job.night.stands_in_for or any(phone.stands_in_for == serial for phone in phones.values()):
            return
        wear = week_of(self.log.folder.parents[1], self.shelf)
        for phone in self.shelf.equals_of(serial):
            worn = wear.get(phone.serial)
            if phone.serial in phones or quarantine_of(self.register.of(phone.serial)):
                continue
            if worn is None or worn.advice == "as planned":
                self.log.add("stand_in", by=phone.serial, **{"for": serial})
                self.log.add("note", phone=phone.serial, text=f"it stands in for {serial}, which was {job.night.end}")
                self.jobs.append(Job(phone, phones[phone.serial]))
                return

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
            self._pool.tell_health(job.phone, self.register.of(job.phone.serial).state)
            job.claim.release()
            job.claim = None
            self.held -= 1

    def _relative(self, run: Path | None) -> str:
        return str(run.relative_to(self.folder)) if run else ""
