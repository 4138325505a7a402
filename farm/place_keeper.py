"""One connection to a labgrid coordinator, which is kept: places that are held are taken again after it was away.

A coordinator that restarts has forgotten who held what. So for a grace the holder goes on under its own lock, and takes
the place again under the same name as soon as it can; only when somebody else has it by then, or the grace is over, is
it lost. labgrid's client is asyncio's, so it has a thread with a loop of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import grpc
from labgrid.remote.client import ClientSession
from labgrid.remote.client import Error as ClientError
from labgrid.remote.generated import labgrid_coordinator_pb2 as messages
from labgrid.remote.generated.labgrid_coordinator_pb2_grpc import CoordinatorStub

from base.errors import EnvironmentRefused
from base.units import format_duration
from farm.owner import PlaceOwner

_CONNECT_S = 10.0
_CALL_S = 15.0
_RETRY_S = 0.5

# A coordinator that hangs is noticed within a few of these.
_CHANNEL = (
    ("grpc.use_local_subchannel_pool", 1), ("grpc.keepalive_time_ms", 7500), ("grpc.keepalive_timeout_ms", 10000),
    ("grpc.http2.ping_timeout_ms", 10000), ("grpc.http2.max_pings_without_data", 0),
)  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PlaceResource:
    """What an exporter says of one thing at a place."""

    exporter: str
    kind: str
    is_there: bool
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PlaceNow:
    """A place as the coordinator tells it. ``kinds`` is what its matches ask for; ``holder`` is empty when free."""

    name: str
    tags: Mapping[str, str]
    holder: str
    kinds: frozenset[str]
    resources: tuple[PlaceResource, ...]


@dataclass(slots=True)
class _Held:
    place: str
    lost: str = ""
    unheld_since: float | None = None


class _Session(ClientSession):  # type: ignore[misc]  # labgrid has no types
    """A client whose name is its process's, and which tells when a place has changed."""

    owner: PlaceOwner
    changed: asyncio.Event

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        # The coordinator knows a client by its connection, and channels of one process would share theirs.
        self.channel = grpc.aio.insecure_channel(self.address, options=_CHANNEL)
        self.stub = CoordinatorStub(self.channel)

    def gethostname(self) -> str:
        return self.owner.host

    def getuser(self) -> str:
        return self.owner.user

    async def on_place_changed(self, place: Any) -> None:
        await super().on_place_changed(place)
        self.changed.set()

    async def on_place_deleted(self, name: str) -> None:
        self.places.pop(name, None)
        self.changed.set()


@dataclass(slots=True)
class PlaceKeeper:
    """A coordinator at ``address`` (HOST:PORT); ``grace_s`` is how long it may be away. Use as a context."""

    address: str
    grace_s: float
    owner: PlaceOwner = field(default_factory=PlaceOwner.this_process)
    _session: _Session | None = None
    _away_since: float = 0.0
    _held: dict[str, _Held] = field(default_factory=dict)
    _closing: bool = False
    _was_up: threading.Event = field(default_factory=threading.Event)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Connect. Raises EnvironmentRefused where no coordinator answers."""
        # labgrid logs what it also raises; the root logger would print it between the lines of a night.
        logging.getLogger().addHandler(logging.NullHandler())
        self._away_since = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="labgrid", daemon=True)
        # Signals are the main thread's; this one, and those that grpc starts from it, take none.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if not self._was_up.wait(_CONNECT_S + 1) or self._session is None:
            self.__exit__()
            raise EnvironmentRefused(
                f"no labgrid coordinator answers at {self.address}",
                hint="start it there (./lab farm coordinator), or correct engine.labgrid.coordinator",
            )
        return self

    def __exit__(self, *_: object) -> None:
        """Release what is held, and disconnect."""
        for place in list(self._held):
            self.release(place)
        self._closing = True
        if self._thread:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wake)
            self._thread.join(_CONNECT_S + _CALL_S)

    def places(self) -> dict[str, PlaceNow]:
        """All places, by name. Raises EnvironmentRefused while the coordinator is away."""
        return self._do(self._places())

    def place(self, name: str) -> PlaceNow | None:
        """One place; None where there is none of that name."""
        return self.places().get(name)

    @property
    def away_s(self) -> float:
        """For how long the coordinator has been away; 0 while it is there."""
        return 0.0 if self._session else time.monotonic() - self._away_since

    def acquire(self, place: str) -> bool:
        """Hold a free place; False where somebody was faster, or its exporter says no. Raises EnvironmentRefused."""
        return self._do(self._acquire(place))

    def lost(self, place: str) -> str:
        """Why a place that was acquired is not held any more; empty while it is, or may be again within the grace."""
        held = self._held.get(place)
        if held is None or held.lost:
            return held.lost if held else "it was released"
        since = held.unheld_since
        if since is not None and time.monotonic() - since > self.grace_s:
            return f"the coordinator {self.address} has not held place {place} for {format_duration(self.grace_s)}"
        return ""

    def release(self, place: str) -> None:
        """Let go of a place. A coordinator that is away has forgotten it by itself."""
        held = self._held.pop(place, None)
        if held and not held.lost:
            with contextlib.suppress(EnvironmentRefused):
                self._do(self._free(place, str(self.owner)))

    def is_forgotten(self, place: PlaceNow) -> bool:
        """Whether the coordinator says that this process has it, and this process does not know of it."""
        return place.holder == str(self.owner) and place.name not in self._held

    def free(self, place: str, holder: str) -> bool:
        """Take a place from that holder, and from nobody else; whether it is free now. Raises EnvironmentRefused."""
        return self._do(self._free(place, holder))

    def set_tags(self, place: str, tags: Mapping[str, str]) -> None:
        """Set tags of a place. Raises EnvironmentRefused."""
        self._do(self._call("SetPlaceTags", messages.SetPlaceTagsRequest(placename=place, tags=dict(tags))))

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run in the loop's thread, and wait."""
        if self._loop.is_closed():
            work.close()
            raise EnvironmentRefused(f"the connection to the labgrid coordinator {self.address} is closed")
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result(2 * _CALL_S)
        except (grpc.aio.AioRpcError, TimeoutError, RuntimeError) as error:
            said = error.details() if isinstance(error, grpc.aio.AioRpcError) else error or "no answer"
            raise EnvironmentRefused(
                f"the labgrid coordinator {self.address} did not do it: {said}", hint="see what it printed"
            ) from error

    def _there(self) -> _Session:
        if self._session is None:
            raise EnvironmentRefused(
                f"the labgrid coordinator {self.address} is away", hint="start it again: ./lab farm coordinator"
            )
        return self._session

    async def _call(self, method: str, request: Any) -> _Session:
        session = self._there()
        await getattr(session.stub, method)(request, timeout=_CALL_S)
        await asyncio.wait_for(session.sync_with_coordinator(), _CALL_S)
        return session

    async def _places(self) -> dict[str, PlaceNow]:
        session = self._there()
        known = [
            ((exporter, group, entry.cls, name), entry)
            for exporter, groups in session.resources.items() for group, entries in groups.items()
            for name, entry in entries.items() if "cls" in entry.data
        ]  # fmt: skip
        return {
            name: PlaceNow(
                name, dict(place.tags), place.acquired or "", frozenset(match.cls for match in place.matches),
                tuple(
                    PlaceResource(path[0], entry.cls, bool(entry.avail), dict(entry.params))
                    for path, entry in known if place.hasmatch(path)
                ),
            )
            for name, place in session.places.items()
        }  # fmt: skip

    async def _acquire(self, place: str) -> bool:
        try:
            if await self._take(place):
                self._held.setdefault(place, _Held(place))
        except Exception:
            # The coordinator may have given it all the same, and would then wait for us without end.
            with contextlib.suppress(Exception):
                await self._free(place, str(self.owner))
            raise
        return place in self._held

    async def _take(self, place: str) -> bool:
        try:
            session = await self._call("AcquirePlace", messages.AcquirePlaceRequest(placename=place))
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.PERMISSION_DENIED):
                return False
            raise
        found = session.places.get(place)
        return found is not None and found.acquired == str(self.owner)

    async def _free(self, place: str, holder: str) -> bool:
        # It says that all went well where it did nothing, so the place is read back.
        session = await self._call("ReleasePlace", messages.ReleasePlaceRequest(placename=place, fromuser=holder))
        found = session.places.get(place)
        return found is not None and not found.acquired

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._stay())
        finally:
            self._loop.close()

    def _wake(self) -> None:
        if self._session:
            self._session.stopping.set()
            self._session.changed.set()

    async def _stay(self) -> None:
        """Connect, watch what is held until the connection breaks, and connect again."""
        while not self._closing:
            session = _Session(self.address, self._loop)
            session.owner, session.changed = self.owner, asyncio.Event()
            try:
                await asyncio.wait_for(session.start(), _CONNECT_S)
                self._session = session
                self._was_up.set()
                await self._watch(session)
            except (ClientError, TimeoutError, grpc.aio.AioRpcError):
                self._was_up.set()
            finally:
                if self._session:
                    self._session, self._away_since = None, time.monotonic()
                for held in self._held.values():
                    held.unheld_since = held.unheld_since or time.monotonic()
                await self._end(session)
            if not self._closing:
                await asyncio.sleep(_RETRY_S)

    async def _watch(self, session: _Session) -> None:
        while not session.stopping.is_set():
            session.changed.clear()
            for held in list(self._held.values()):
                await self._see(session, held)
            stopped = asyncio.ensure_future(session.stopping.wait())
            changed = asyncio.ensure_future(session.changed.wait())
            await asyncio.wait((stopped, changed), timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            changed.cancel()

    async def _see(self, session: _Session, held: _Held) -> None:
        """Whether a held place is held; one that nobody holds is taken again."""
        place = session.places.get(held.place)
        if place is not None and place.acquired == str(self.owner):
            held.unheld_since = None
            return
        held.unheld_since = held.unheld_since or time.monotonic()
        if place is not None and place.acquired:
            held.lost = f"place {held.place} is {place.acquired}'s now"
        elif place is not None:
            with contextlib.suppress(grpc.aio.AioRpcError, TimeoutError, EnvironmentRefused):
                if await self._take(held.place) and held.place not in self._held:
                    await self._free(held.place, str(self.owner))  # it was released meanwhile

    async def _end(self, session: _Session) -> None:
        session.stopping.set()
        with contextlib.suppress(Exception):
            await asyncio.wait_for(session.stop(), _RETRY_S)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(session.close(), _RETRY_S)
