"""A phone over adb.

The shell protocol is spoken here, because a dropped connection must not look like a finished command (only the exit
packet proves completeness), because stdin is needed, and because a limit has to hold for the whole call, in time and in
bytes, whatever the phone sends.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path

from base.deadline import Deadline
from base.errors import CommandFailed, DeviceError, DeviceLost, DeviceTimeout, StorageFailed
from base.units import GIB, MIB, format_size
from devices.adb_server import Server, Talk, TalkFailed, adb_server
from devices.held_shell import HeldShell
from devices.shell_script import compile_script, elapsed_by, parse_answer
from devices.transcript import Transcript
from devices.transport import CommandResult, Op, Process, WireTime

# Packet ids of the shell protocol, version 2 (packages/modules/adb/shell_protocol.h).
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)
_CHUNK_BYTES = 32 * 1024
# The adb server takes a service name of at most 0xffff bytes.
_MAX_COMMAND_BYTES = 60_000
# Nothing that a command says is longer; files may be.
_KEPT_BYTES = 64 * MIB
_FILE_BYTES = GIB
_LAST_WORDS_BYTES = 1 << 16


class RootStyle(StrEnum):
    """How a command becomes root on a phone."""

    none = "none"
    adbd = "adbd"
    su_c = "su-c"
    su_0 = "su-0"

    def wrap(self, script: str) -> str:
        match self:
            case RootStyle.su_c:
                return f"su -c {shlex.quote(script)}"
            case RootStyle.su_0:
                return f"su 0 sh -c {shlex.quote(script)}"
            case _:
                return script


class ShellConnection:
    """One command of the shell protocol: packets in both directions, all errors as DeviceLost."""

    def __init__(self, talk: Talk, serial: str, what: str) -> None:
        self._talk, self._serial, self._what = talk, serial, what
        self._packet, self._left = _STDOUT, 0

    def send(self, packet: int, data: bytes, deadline: Deadline) -> None:
        with translated(self._serial, self._what, deadline):
            self._talk.send(bytes([packet]) + len(data).to_bytes(4, "little") + data, deadline)

    def send_stdin(self, data: bytes, deadline: Deadline) -> None:
        for start in range(0, len(data), _CHUNK_BYTES):
            self.send(_STDIN, data[start : start + _CHUNK_BYTES], deadline)

    def piece(self, deadline: Deadline) -> tuple[int, bytes]:
        """(id, payload) of a packet or of a part of one, as it comes: no length that is claimed is waited for."""
        with translated(self._serial, self._what, deadline):
            while self._left == 0:
                header = self._talk.exactly(5, deadline)
                self._packet, self._left = header[0], int.from_bytes(header[1:], "little")
                if self._packet == _EXIT and self._left != 1:
                    raise TalkFailed(f"an exit status of {self._left} bytes")
            payload = self._talk.receive(self._left, deadline)
            self._left -= len(payload)
        return self._packet, payload

    def is_quiet(self) -> bool:
        """Say whether the connection stands and nothing has come that was not asked for."""
        return self._left == 0 and self._talk.is_quiet()

    def close(self) -> None:
        self._talk.close()


class AdbProcess(Process):
    """A program on the phone that answers each line with one line.

    After an error it answers nothing any more: whatever is asked then ends with the very same error, so that an
    interrupt stays one when somebody asks once more on the way out.
    """

    def __init__(self, shell: ShellConnection, what: str, wire: WireTime, note: Callable[[str], None]) -> None:
        self._shell, self._what, self._wire, self._note = shell, what, wire, note
        self._pending = bytearray()
        self._stderr = b""
        self._given_up: BaseException | None = None

    def request(self, line: str, *, deadline: Deadline) -> str:
        if self._given_up is not None:
            raise self._given_up
        begin = time.monotonic()
        answer = "no answer"
        try:
            self._shell.send_stdin(line.encode() + b"\n", deadline)
            answer = self._read_line(deadline)
        except BaseException as error:
            # What comes later would be taken for the answer to the next request.
            self._given_up = error
            self._shell.close()
            raise
        finally:
            elapsed_s = time.monotonic() - begin
            self._wire.add(elapsed_s)
            self._note(f"{line}: {elapsed_s * 1000:.1f} ms -> {answer[:200]}")
        return answer

    def _read_line(self, deadline: Deadline) -> str:
        searched = 0
        while (end := self._pending.find(b"\n", searched)) < 0:
            searched = len(self._pending)
            packet, payload = self._shell.piece(deadline)
            if packet == _EXIT:
                message = (bytes(self._pending) + self._stderr).decode(errors="replace").strip()
                raise DeviceLost(
                    f"{self._what} ended on its own with status {payload[0]}: {message or 'no message'}",
                    hint="kernel.log in the run's folder says whether it was killed",
                )
            if packet == _STDOUT:
                self._pending += payload
                _refuse_flood(self._what, len(self._pending), _KEPT_BYTES)
            elif packet == _STDERR:
                self._stderr = (self._stderr + payload)[-_LAST_WORDS_BYTES:]
        line = self._pending[:end].decode(errors="replace")
        del self._pending[: end + 1]
        return line

    def close(self) -> None:
        with contextlib.suppress(DeviceError):
            self._shell.send(_CLOSE_STDIN, b"", Deadline.after(1))
        self._shell.close()


def _refuse_flood(what: str, size: int, limit: int) -> None:
    if size > limit:
        raise CommandFailed(what, 0, f"said more than {format_size(limit)}, which nothing sensible does; given up")


class AdbTransport:
    """Operations on one phone over the adb server; ``root`` says how commands become root."""

    def __init__(
        self, serial: str, *, root: RootStyle = RootStyle.none, transcript: Transcript | None = None,
        client: Server | None = None,
    ) -> None:  # fmt: skip
        self.serial = serial
        self.lives_in = ""
        self._root = root
        self.wire = WireTime()
        self.clock_missing = False
        self._client = client or adb_server()
        self._transcript = transcript or Transcript(None)
        self._held: HeldShell | None = None

    @property
    def root(self) -> str:
        return self._root

    def hold_shell(self) -> None:
        """Carry out operations in one shell that stays open from now on, instead of a shell for each round trip."""
        self._held = self._held or HeldShell(partial(self._open, self._root.wrap("exec sh")))

    def execute(self, ops: Sequence[Op], *, deadline: Deadline, keep_going: bool = False) -> list[CommandResult]:
        if not ops:
            return []
        token = f"LAB{secrets.token_hex(8)}"
        begin = time.monotonic()
        out, err, status = self._run(compile_script(ops, token, keep_going=keep_going), token, str(ops[0]), deadline)
        answer = parse_answer(ops, token, out.decode(errors="replace"), err.decode(errors="replace"))
        elapsed = time.monotonic() - begin
        if answer is None:
            tail = err.decode(errors="replace").strip()[-300:]
            raise CommandFailed(f"{self.serial}: {ops[0]}", status, tail or "the shell ended early")
        self.clock_missing |= answer.on_phone_s is None
        self.wire.add(elapsed, answer.on_phone_s)
        self._transcript.add(self.serial, answer.results, elapsed)
        return answer.results

    def start(self, argv: Sequence[str], *, deadline: Deadline) -> Process:
        command = shlex.join(argv)
        self._transcript.note(self.serial, f"start {command}")
        shell = self._open(self._root.wrap(f"exec {command}"), command, deadline)
        return AdbProcess(shell, command, self.wire, partial(self._transcript.note, self.serial))

    def push(self, local: Path, remote: str, *, mode: int = 0o644, deadline: Deadline) -> None:
        part = shlex.quote(f"{remote}.part")
        script = f"cat > {part} && chmod {mode:o} {part} && mv -f {part} {shlex.quote(remote)}"
        try:
            content = local.read_bytes()
        except OSError as error:
            raise StorageFailed(f"{local} cannot be read, to be pushed: {error.strerror or error}") from error
        self._transfer(f"push {local.name} -> {remote}", script, content, deadline)

    def pull(self, remote: str, local: Path, *, deadline: Deadline, remove: bool = False) -> None:
        path = shlex.quote(remote)
        content = self._transfer(f"pull {remote}", f"cat {path}{f' && rm -f {path}' * remove}", b"", deadline)
        try:
            local.write_bytes(content)
        except OSError as error:
            raise StorageFailed(f"{local}: what was pulled cannot be written: {error.strerror or error}") from error

    def service(self, name: str, *, deadline: Deadline) -> str:
        """What the phone's adbd answers to a service of its own (``root:``); DeviceLost when it refuses."""
        with translated(self.serial, name, deadline), Talk.begin(self._client, deadline) as talk:
            for service in (f"host:transport:{self.serial}", name):
                talk.request(service, deadline)
            return talk.rest(_CHUNK_BYTES, deadline).decode(errors="replace").strip()

    def close(self) -> None:
        if self._held is not None:
            self._held.close()

    def _run(self, script: str, token: str, what: str, deadline: Deadline) -> tuple[bytes, bytes, int]:
        if self._held is None:
            return self._shell(self._root.wrap(script), b"", what, deadline, _KEPT_BYTES)
        refuse = partial(_refuse_flood, f"{self.serial}: {what}", limit=_KEPT_BYTES)
        return self._held.run(script, token, what, deadline, refuse)

    def _transfer(self, what: str, script: str, stdin: bytes, deadline: Deadline) -> bytes:
        begin = time.monotonic()
        on_phone_s: float | None = None
        if self._held is None or stdin:
            out, err, status = self._shell(self._root.wrap(script), stdin, what, deadline, _FILE_BYTES)
        else:
            out, err, status, on_phone_s = self._fetched(script, what, deadline)
        self.wire.add(time.monotonic() - begin, on_phone_s)
        self._transcript.note(self.serial, f"{what}: {len(stdin) or len(out)} bytes, status {status}")
        if status != 0:
            raise CommandFailed(f"{self.serial}: {what}", status, err.decode(errors="replace"))
        return out

    def _fetched(self, script: str, what: str, deadline: Deadline) -> tuple[bytes, bytes, int, float | None]:
        """What a script prints in the shell that is held, whatever bytes it is, and what it took on the phone.

        Its exit status comes as a line of stderr, with the phone's own clock before and after.
        """
        assert self._held is not None
        token = f"LAB{secrets.token_hex(8)}"
        refuse = partial(_refuse_flood, f"{self.serial}: {what}", limit=_FILE_BYTES)
        timed = f'B=$EPOCHREALTIME\n{script}\necho "{token} $? ${{B:-0}} ${{EPOCHREALTIME:-0}}" >&2'
        out, err, _ = self._held.run(timed, token, what, deadline, refuse)
        words, found, last = err.rpartition(f"{token} ".encode())
        status, *clock = last.decode(errors="replace").split()[:3] if found and last.strip() else [""]
        if not re.fullmatch(r"[0-9]{1,3}", status):
            raise CommandFailed(f"{self.serial}: {what}", 0, err.decode(errors="replace") or "the shell ended early")
        return out, words, int(status), elapsed_by(*clock) if len(clock) == 2 else None

    def _shell(self, command: str, stdin: bytes, what: str, deadline: Deadline, limit: int) -> tuple[bytes, bytes, int]:
        streams = {_STDOUT: bytearray(), _STDERR: bytearray()}
        size = 0
        with contextlib.closing(self._open(command, what, deadline)) as shell:
            shell.send_stdin(stdin, deadline)
            shell.send(_CLOSE_STDIN, b"", deadline)
            while True:
                packet, payload = shell.piece(deadline)
                if packet == _EXIT:
                    return bytes(streams[_STDOUT]), bytes(streams[_STDERR]), payload[0]
                size += len(payload)
                _refuse_flood(f"{self.serial}: {what}", size, limit)
                if packet in streams:
                    streams[packet] += payload

    def _open(self, command: str, what: str, deadline: Deadline) -> ShellConnection:
        if len(command.encode()) > _MAX_COMMAND_BYTES:
            raise DeviceError(f"{what}: a script of {len(command)} bytes is longer than adb takes")
        with translated(self.serial, what, deadline):
            talk = Talk.begin(self._client, deadline)
            try:
                for service in (f"host:transport:{self.serial}", f"shell,v2,raw:{command}"):
                    talk.request(service, deadline)
            except BaseException:
                talk.close()
                raise
        return ShellConnection(talk, self.serial, what)


@contextmanager
def translated(serial: str, what: str, deadline: Deadline) -> Iterator[None]:
    """The one place where errors of the connection to a phone become ours."""
    try:
        yield
    except TimeoutError as error:
        raise DeviceTimeout(
            f"{serial}: {what}: no answer within {deadline.seconds:g} s",
            hint="is the phone awake and the cable in? `./lab doctor` shows its state; then `./lab restore`",
        ) from error
    except (OSError, EOFError, TalkFailed) as error:
        raise DeviceLost(
            f"{serial}: {what}: connection lost: {error or type(error).__name__}",
            hint="plug the phone in again, then `./lab restore` puts it back as it was",
        ) from error
