"""Phones that are places of a labgrid coordinator: each is held by our own lock first, then by its place.

Both are this process's, so whoever finds the process dead can ask the lock whether its run still puts the phone back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from pydantic import ValidationError

from base.errors import EnvironmentRefused, LabError, ProfileError
from base.text import clean
from devices.lease import Holder, held_by
from farm.owner import PlaceOwner
from farm.place_keeper import PlaceKeeper, PlaceNow, PlaceResource
from farm.pool import Reaped, Say
from farm.shelf import Shelf, ShelfPhone, profile_of
from farm.standing import Register, State

# What our exporter calls a phone, and which version of what it says of one is understood.
PHONE, SPEAKS = "LabAdbPhone", 1
_ELSEWHERE = "labgrid"
_LOOPBACK = ("127.", "localhost", "::1", "[::1]")


@dataclass(slots=True)
class PlaceClaim:
    """A lock of this computer, and a place."""

    descriptor: int
    place: str
    keeper: PlaceKeeper

    def lost(self) -> str:
        """Ask the keeper."""
        return self.keeper.lost(self.place)

    def release(self) -> None:
        """Let go of the place first: who takes it finds the lock free a moment later."""
        self.keeper.release(self.place)
        os.close(self.descriptor)


@dataclass(slots=True)
class LabgridPool:
    """The places of a coordinator that have a phone. ``place_of`` maps a serial to its place."""

    keeper: PlaceKeeper
    register: Register
    place_of: dict[str, str] = field(default_factory=dict)

    def stocked(self, shelf: Shelf, say: Say) -> Shelf:
        """Return the shelf with the phones of all places that can be reached from here.

        Raises ProfileError where there is none, or where places contradict each other or the farm's file.
        """
        phones, problems = dict[str, ShelfPhone](), list[str]()
        for place in self.keeper.places().values():
            if PHONE not in place.kinds:
                continue
            if elsewhere := _out_of_reach(place, self.keeper.owner.host):
                say(f"place {place.name}: {elsewhere}: not of this night")
                continue
            try:
                phone = _phone_of(place)
                profile_of(phone, shelf.farm.plan)
            except (LabError, ValidationError) as error:
                problems.append(f"place {place.name}: {str(error).splitlines()[0]}")
                continue
            if phone.serial in phones:
                problems.append(
                    f"place {place.name}: phone {phone.serial} is at place {self.place_of[phone.serial]} already"
                )
            phones[phone.serial], self.place_of[phone.serial] = phone, place.name
            self._take_over(phone, place.tags.get("health", ""))
        if not phones and not problems:
            problems.append(f"no place of the coordinator {self.keeper.address} has a phone ({PHONE}) in reach")
        if problems:
            raise ProfileError(
                "\n".join(f"{shelf.file}: {each}" for each in problems),
                hint="labgrid-client places shows them; ./lab farm exporter makes one for each phone",
            )
        return replace(shelf, farm=shelf.farm.model_copy(update={"phones": tuple(phones.values())})).checked()

    def claim(self, phone: ShelfPhone) -> PlaceClaim | None:
        """Take the lock and the place; a place that the dead left is freed first. Raises EnvironmentRefused."""
        place = self._place(phone)
        if place is None:
            return None
        descriptor = self.register.claim(phone.serial)
        if descriptor is None:
            return None
        try:
            _check_resource(place)
            is_free = not place.holder or not self._why_kept(place)
            is_ours = is_free and self.keeper.acquire(place.name)
        except BaseException:
            os.close(descriptor)
            raise
        if is_ours:
            return PlaceClaim(descriptor, place.name, self.keeper)
        os.close(descriptor)
        return None

    def is_claimed(self, phone: ShelfPhone) -> bool:
        """Whether its place is held."""
        place = self.keeper.place(self.place_of[phone.serial])
        return bool(place and place.holder)

    def tell_health(self, phone: ShelfPhone, state: State) -> None:
        """Set the place's tag ``health``; while the coordinator is away it stays as it was."""
        name = self.place_of.get(phone.serial)
        with suppress(EnvironmentRefused):
            if name and (place := self.keeper.place(name)) and place.tags.get("health") != state:
                self.keeper.set_tags(name, {"health": str(state)})

    def _take_over(self, phone: ShelfPhone, told: str) -> None:
        """What another computer found of a phone holds here too, until it takes that back."""
        standing = self.register.of(phone.serial)
        if told == State.bad and standing.state is not State.bad:
            with self.register.changing(phone.serial, "quarantine") as standing:
                standing.quarantined("its place has the tag health=bad, from another computer", _ELSEWHERE)
        elif told == State.good and standing.state is State.bad and standing.who == _ELSEWHERE:
            with self.register.changing(phone.serial, "release") as standing:
                standing.released("its place has the tag health=good again", _ELSEWHERE)

    def reap(self) -> Iterator[Reaped]:
        """Free the places of dead holders of this computer, but for those whose phone somebody still has."""
        for place in self.keeper.places().values():
            owner = PlaceOwner.parse(place.holder)
            if PHONE not in place.kinds or owner is None or not owner.is_dead:
                continue
            serial = _serial_of(place)
            descriptor = self.register.claim(serial)
            if descriptor is None:
                yield Reaped(place.name, place.holder, "the run that it left still has the phone")
                continue
            try:
                yield Reaped(place.name, place.holder, self._why_kept(place))
            finally:
                os.close(descriptor)

    def _place(self, phone: ShelfPhone) -> PlaceNow | None:
        """None while the coordinator may come back."""
        away_s = self.keeper.away_s
        if away_s and away_s <= self.keeper.grace_s:
            return None
        place = self.keeper.place(self.place_of.get(phone.serial, phone.serial))
        if place is None:
            raise EnvironmentRefused(
                f"{phone.serial}: the coordinator {self.keeper.address} has no such place any more",
                hint="start its exporter again, which makes it anew: ./lab farm exporter",
            )
        if self.keeper.is_forgotten(place) and self.keeper.free(place.name, place.holder):
            return self.keeper.place(place.name)
        owner = PlaceOwner.parse(place.holder) if place.holder else None
        return place if not place.holder or (owner and owner.is_dead) else None

    def _why_kept(self, place: PlaceNow) -> str:
        """Free a dead holder's place, whose lock the caller has; why it could not be, or nothing."""
        resource = _resource(place)
        if resource is None or not resource.params.get("key"):
            return "its exporter does not say which phone it is, so nobody can be asked whether it is in use"
        holder: Holder | None = held_by(str(resource.params["key"]))
        if holder:
            return f"in use by {holder}"
        return "" if self.keeper.free(place.name, place.holder) else "somebody else has it by now"


def _resource(place: PlaceNow) -> PlaceResource | None:
    return next((each for each in place.resources if each.kind == PHONE), None)


def _serial_of(place: PlaceNow) -> str:
    resource = _resource(place)
    return clean(str(resource.params.get("serial") or place.name)) if resource else place.name


def _phone_of(place: PlaceNow) -> ShelfPhone:
    """What the farm's file would say of it; a place without its exporter is a phone that is not there."""
    resource, tags = _resource(place), {key: clean(value) for key, value in place.tags.items() if value}
    profile = tags.pop("profile", None)
    tags.pop("health", None)
    if resource:
        tags.setdefault("host", clean(str(resource.params.get("host") or resource.exporter)))
    server = str(resource.params["server"]) if resource and resource.params.get("server") else None
    return ShelfPhone(serial=_serial_of(place), profile=profile, tags=tags, server=server)


def _check_resource(place: PlaceNow) -> None:
    """labgrid grants a place whose exporter or phone is not there. Raises EnvironmentRefused."""
    resource = _resource(place)
    if resource is None:
        raise EnvironmentRefused(
            f"place {place.name}: no exporter offers its phone now",
            hint="start it on the computer that has the phone: ./lab farm exporter",
        )
    if resource.params.get("speaks") != SPEAKS:
        raise EnvironmentRefused(
            f"place {place.name}: exporter {resource.exporter} is of another version "
            f"({resource.params.get('speaks') or 'not ours'}, here {SPEAKS})",
            hint="update the lab on both computers, and start there: ./lab farm exporter",
        )
    if not resource.is_there:
        raise EnvironmentRefused(
            f"place {place.name}: the phone does not answer, says exporter {resource.exporter}: "
            f"{clean(str(resource.params.get('why') or 'no reason'))}",
            hint="look at its cable; ./lab doctor on that computer",
        )


def _out_of_reach(place: PlaceNow, here: str) -> str:
    """Why a phone cannot be measured from this computer; empty when it can."""
    params: Mapping[str, object] = (_resource(place) or PlaceResource("", "", False, {})).params
    host, server = str(params.get("host") or here), str(params.get("server") or "")
    if server.startswith(_LOOPBACK) and host not in (here, "localhost") and not host.startswith("127."):
        return f"it hangs at {host}, whose adb server listens for that computer only"
    return ""
