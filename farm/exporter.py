"""Offers this computer's phones to a labgrid coordinator, each as there only while it really answers.

labgrid's own exporter offers a class that it does not know as always there. Ours looks: a command on the phone while
nobody has it, and the adb server's list while somebody does, because a command would disturb what is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from socket import gethostname
from typing import Any

import grpc
import labgrid.remote.exporter as upstream
from jinja2 import TemplateError
from labgrid.exceptions import NoConfigFoundError
from labgrid.remote.config import ResourceConfig
from labgrid.remote.generated import labgrid_coordinator_pb2 as messages
from yaml import YAMLError

from base.deadline import Deadline
from base.errors import LabError, ProfileError
from base.output import tell
from base.units import shown
from devices.adb import AdbTransport, RootStyle
from devices.adb_server import adb_server, listing
from devices.connect import become_root
from devices.lease import held_by, lease_key
from devices.transport import Exec, Read
from farm.labgrid_pool import PHONE, SPEAKS

_LOOK_S = 10.0
_SERVER = "127.0.0.1:5037"
_COORDINATOR_AGAIN_S = 2.0
_WHO = (Read("/proc/sys/kernel/random/boot_id"), Exec(("getprop", "ro.serialno")))


@dataclass(slots=True)
class PhoneWatch:
    """What is known of one phone, by a thread of its own. ``key`` names its lease on this computer."""

    serial: str
    server: str
    every_s: float
    avail: bool = False
    key: str = ""
    why: str = "not looked at yet"
    is_taken: bool = False
    _ended: threading.Event = field(default_factory=threading.Event)

    def begin(self) -> None:
        """Look from now on."""
        threading.Thread(target=self._watch, name=f"watch {self.serial}", daemon=True).start()

    def poll(self) -> None:
        """Do nothing: labgrid calls this in its loop, four times a second for every phone."""

    def look(self) -> None:
        """Ask once; whatever comes is kept."""
        try:
            state = listing(adb_server(self.server)).get(self.serial, "not on adb")
            if state == "device" and not (self.key and (self.is_taken or held_by(self.key))):
                self.key = self._ask()
            self.avail, self.why = state == "device", "" if state == "device" else state
        except LabError as error:
            self.avail, self.why = False, str(error).splitlines()[0]

    def _ask(self) -> str:
        """A round trip through the phone's shell; which boot of which phone it is."""
        server = adb_server(self.server)
        phone = AdbTransport(self.serial, root=RootStyle.none, client=server)
        boot, serialno = phone.execute(_WHO, deadline=Deadline.after(_LOOK_S), keep_going=True)
        if not boot.ok:  # the shell's user may not read it
            phone = become_root(lambda style: AdbTransport(self.serial, root=style, client=server), may_restart=False)
            boot, serialno = phone.execute(_WHO, deadline=Deadline.after(_LOOK_S), keep_going=True)
        serial = serialno.text.strip() or self.serial
        return lease_key(boot.text.strip(), serial, lives_in=phone.lives_in) if boot.ok else ""

    def _watch(self) -> None:
        while not self._ended.is_set():
            self.look()
            self._ended.wait(self.every_s)


class PhoneExport(upstream.ResourceExport):  # type: ignore[misc]  # labgrid has no types
    """A phone as a resource."""

    every_s = 5.0

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        asked = self.local_params
        self.local = PhoneWatch(str(asked["serial"]), str(asked.get("server") or _SERVER), self.every_s)
        self.local.begin()

    def poll(self) -> bool:
        """Return whether what is known has changed."""
        self.local.is_taken = bool(self.acquired)
        return bool(super().poll())

    def _get_params(self) -> dict[str, Any]:
        watch: PhoneWatch = self.local
        return {"host": self.host, "serial": watch.serial, "server": watch.server, "key": watch.key, "why": watch.why,
                "speaks": SPEAKS, "extra": {}}  # fmt: skip


class PhoneExporter(upstream.Exporter):  # type: ignore[misc]
    """labgrid's exporter, which also makes a place for each phone that has none."""

    async def add_resource(self, group_name: str, resource_name: str, cls: str, params: dict[str, Any]) -> None:
        """Offer it; ``tags`` are those of a place that is made for it."""
        tags = params.pop("tags", None) or {}
        await super().add_resource(group_name, resource_name, cls, params)
        if cls != PHONE:
            return
        try:
            await self.stub.AddPlace(messages.AddPlaceRequest(name=group_name))
            pattern = f"*/{group_name}/{PHONE}"
            await self.stub.AddPlaceMatch(messages.AddPlaceMatchRequest(placename=group_name, pattern=pattern))
            tags = {str(key): str(value) for key, value in tags.items()}
            await self.stub.SetPlaceTags(messages.SetPlaceTagsRequest(placename=group_name, tags=tags))
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.ALREADY_EXISTS:
                raise


def export(file: Path, coordinator: str, name: str | None, every_s: float) -> int:
    """Offer the phones of a resources file until a signal; a coordinator that goes away is waited for.

    Each phone is looked at once in ``every_s``.
    Raises ProfileError for a file that offers no phone.
    """
    check_resources(file)
    upstream.exports[PHONE], PhoneExport.every_s = PhoneExport, every_s
    upstream.inspect = None
    host = gethostname()
    config: dict[str, Any] = {
        "name": name or host, "hostname": host, "resources": str(file), "coordinator": coordinator, "isolated": False,
    }  # fmt: skip
    with contextlib.redirect_stdout(sys.stderr):
        asyncio.run(_serve(config))
    if not upstream.reexec:
        return 0
    tell(f"no coordinator at {coordinator} any more; asking again in {_COORDINATOR_AGAIN_S:g} s")
    time.sleep(_COORDINATOR_AGAIN_S)
    # A process that begins anew has nothing left of the one before.
    options = ["--coordinator", coordinator, "--name", config["name"], "--every", str(every_s)]
    os.execv(sys.executable, [sys.executable, "-m", "commands", "farm", "exporter", str(file), *options])


async def _serve(config: dict[str, Any]) -> None:
    exporter = PhoneExporter(config)
    loop = asyncio.get_running_loop()

    ends = list[asyncio.Task[None]]()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: ends.append(loop.create_task(exporter.stop())))
    try:
        await exporter.run()
    except grpc.aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.UNAVAILABLE:
            raise
        upstream.reexec = True


def check_resources(file: Path) -> None:
    """Raises ProfileError, all at once, for a file that labgrid could not read or that has no phone."""
    hint = "docs/farm.md shows one; labgrid reads a # at the start of a line as a command, so comments begin with ##"
    try:
        with contextlib.redirect_stdout(None):
            data = ResourceConfig(str(file.absolute()), {"env": os.environ}).data
    except (NoConfigFoundError, TemplateError, YAMLError, OSError, UnicodeError) as error:
        raise ProfileError(f"{file}: {str(error).splitlines()[0]}", hint=hint) from error
    problems, phones = list[str](), dict[str, str]()
    for group, entries in data.items() if isinstance(data, dict) else ():
        for name, params in entries.items() if isinstance(entries, dict) else ():
            if name == "location" or not isinstance(params, dict) or params.get("cls", name) != PHONE:
                continue
            serial, server = params.get("serial"), params.get("server") or _SERVER
            if not isinstance(serial, str) or not serial:
                problems.append(f"{group}.{name}.serial: {shown(serial)} is no serial; expected text in quotes")
            elif serial in phones:
                problems.append(f"{group}.{name}.serial: {serial} is in group {phones[serial]} already")
            else:
                phones[serial] = str(group)
            if not re.fullmatch(r"\S+:[0-9]{1,5}", str(server)):
                problems.append(f"{group}.{name}.server: {shown(server)} is no adb server; expected HOST:PORT")
    if not phones and not problems:
        problems.append(f"no {PHONE} in it: nothing would be offered")
    if problems:
        raise ProfileError("\n".join(f"{file}: {each}" for each in problems), hint=hint)
