"""Where a night's phones come from, and how it holds one so that nobody else measures it.

Two engines: ``local`` (the farm's file and this user's locks) and ``labgrid`` (places of a coordinator and the same
locks, for phones of several computers).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

from base.errors import EnvironmentRefused
from base.paths import private_folder, state_dir
from farm.shelf import Shelf, ShelfPhone
from farm.standing import Register, State

Say = Callable[[str], None]


class Claim(Protocol):
    """A phone that is held. A run that inherits ``descriptor`` holds it too, even when its night was killed."""

    @property
    def descriptor(self) -> int: ...

    def lost(self) -> str:
        """Why it is not held any more, though nobody released it; empty while it is."""
        ...

    def release(self) -> None:
        """Let go of it."""
        ...


@dataclass(frozen=True, slots=True)
class Reaped:
    """A place whose holder has ended: freed, or why not."""

    place: str
    holder: str
    kept: str = ""


class Pool(Protocol):
    """What phones are taken from."""

    def claim(self, phone: ShelfPhone) -> Claim | None:
        """Hold a phone, or return None where somebody else has it. Raises EnvironmentRefused when nobody could."""
        ...

    def is_claimed(self, phone: ShelfPhone) -> bool:
        """Whether anybody holds it now."""
        ...

    def reap(self) -> Iterable[Reaped]:
        """Free what dead holders of this computer left."""
        ...

    def tell_health(self, phone: ShelfPhone, state: State) -> None:
        """Tell the other computers of this pool whether nights may measure the phone."""
        ...


@dataclass(slots=True)
class LocalClaim:
    """A lock of this computer."""

    descriptor: int

    def lost(self) -> str:
        return ""

    def release(self) -> None:
        os.close(self.descriptor)


@dataclass(frozen=True, slots=True)
class LocalPool:
    """The phones of a farm's file, held by locks of this user on this computer."""

    register: Register

    def claim(self, phone: ShelfPhone) -> LocalClaim | None:
        """Take the lock."""
        descriptor = self.register.claim(phone.serial)
        return None if descriptor is None else LocalClaim(descriptor)

    def is_claimed(self, phone: ShelfPhone) -> bool:
        """Try the lock."""
        return self.register.is_claimed(phone.serial)

    def reap(self) -> Iterable[Reaped]:
        """Return nothing: a lock goes with its holder."""
        return ()

    def tell_health(self, phone: ShelfPhone, state: State) -> None:
        """Do nothing: the register is all there is."""


@contextmanager
def open_pool(shelf: Shelf, register: Register, say: Say = lambda text: None) -> Iterator[tuple[Shelf, Pool]]:
    """Open the engine of a farm's file; yields the shelf with the phones that it has now.

    Raises EnvironmentRefused where the coordinator does not answer or the engine is not installed, ProfileError for
    places that make no shelf.
    """
    wanted = shelf.farm.engine.labgrid
    if wanted is None:
        yield shelf, LocalPool(register)
        return
    prepare_labgrid()
    from farm.labgrid_pool import LabgridPool
    from farm.place_keeper import PlaceKeeper

    with PlaceKeeper(wanted.coordinator, wanted.grace) as keeper:
        pool = LabgridPool(keeper, register)
        yield pool.stocked(shelf, say), pool


def prepare_labgrid() -> None:
    """See that labgrid can be loaded. Raises EnvironmentRefused with what to install."""
    # Its handlers for a fork wait for its threads; our children become another program at once and use nothing of it.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    if find_spec("labgrid") is None or find_spec("grpc") is None:
        raise EnvironmentRefused(
            "engine labgrid: the package labgrid is not installed",
            hint="install it into the lab's environment: .venv/bin/pip install --require-hashes -r "
            "requirements-farm.lock",
        )


def become_coordinator(listen: str) -> None:
    """Become labgrid's coordinator, which keeps places and tags in our state folder. Raises EnvironmentRefused."""
    prepare_labgrid()
    os.chdir(private_folder(state_dir() / "farm" / "coordinator"))
    # -P: what lies in that folder is data.
    os.execv(sys.executable, [sys.executable, "-P", "-W", "ignore", "-m", "labgrid.remote.coordinator", "-l", listen])
