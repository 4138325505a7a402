"""A phone over adb: the only module that knows adbutils.

adbutils gives the connection to the adb server. The shell protocol on top of it is spoken here, because a dropped
connection must not look like a finished command (only the exit packet proves completeness), because stdin is needed,
and because a limit has to hold for the whole call instead of for each read.
"""

from __future__ import annotations

import contextlib
import secrets
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path

from adbutils import AdbClient, AdbConnection, AdbError, AdbTimeout, adb_path

from base.deadline import Deadline
from base.errors import CommandFailed, DeviceError, DeviceLost, DeviceTimeout
from devices.shell_script import compile_script, parse_answer
from devices.transcript import Transcript
from devices.transport import CommandResult, Op, Process, WireTime

# Packet ids of the shell protocol, version 2 (packages/modules/adb/shell_protocol.h).
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)
_CHUNK_BYTES = 32 * 1024
# The adb server takes a service name of at most 0xffff bytes.
_MAX_COMMAND_BYTES = 60_000
# An adb server answers at once; whatever listens there and says nothing is none.
SERVER_ANSWERS_S = 10.0
_SERVER_STARTS_S = 20.0


def server_client() -> AdbClient:
    """The adb server that the environment names, started if none listens; it does not wait forever for an answer."""
    client = AdbClient(socket_timeout=SERVER_ANSWERS_S)
    _start_where_none_listens(client)
    return client


def _start_where_none_listens(client: AdbClient) -> None:
    """adbutils would start one too, but leaves the refused socket open and lets adb talk into the run's output.

    Whatever goes wrong here shows, with its reason, at the first request.
    """
    try:
        socket.create_connection((client.host, client.port), timeout=SERVER_ANSWERS_S).close()
    except ConnectionRefusedError:
        if client.host not in ("localhost", "127.0.0.1"):
            return
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                [adb_path(), "-P", str(client.port), "start-server"],
                stdin=subprocess.DEVNULL, capture_output=True, timeout=_SERVER_STARTS_S, check=False,
            )  # fmt: skip
    except OSError:
        return


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

    def __init__(self, connection: AdbConnection, serial: str, what: str) -> None:
        self._connection, self._serial, self._what = connection, serial, what

    def send(self, packet: int, data: bytes, deadline: Deadline) -> None:
        with translated(self._serial, self._what, deadline):
            self._connection.conn.settimeout(max(deadline.left_s, 0.001))
            self._connection.conn.sendall(bytes([packet]) + len(data).to_bytes(4, "little") + data)

    def send_stdin(self, data: bytes, deadline: Deadline) -> None:
        for start in range(0, len(data), _CHUNK_BYTES):
            self.send(_STDIN, data[start : start + _CHUNK_BYTES], deadline)

    def packets(self, deadline: Deadline) -> Iterator[tuple[int, bytes]]:
        """(id, payload) until the exit packet, which is included."""
        packet = -1
        while packet != _EXIT:
            with translated(self._serial, self._what, deadline):
                header = self._read(5, deadline)
                packet, payload = header[0], self._read(int.from_bytes(header[1:], "little"), deadline)
            yield packet, payload

    def _read(self, size: int, deadline: Deadline) -> bytes:
        data = bytearray()
        while len(data) < size:
            if deadline.expired:
                raise TimeoutError
            self._connection.conn.settimeout(max(deadline.left_s, 0.001))
            chunk = self._connection.conn.recv(min(size - len(data), 1 << 20))
            if not chunk:
                raise EOFError("the connection closed before the exit status came")
            data += chunk
        return bytes(data)

    def close(self) -> None:
        with contextlib.suppress(OSError, AdbError):
            self._connection.conn.close()


class AdbProcess(Process):
    """A program on the phone that answers each line with one line."""

    def __init__(self, shell: ShellConnection, what: str, wire: WireTime, note: Callable[[str], None]) -> None:
        self._shell, self._what, self._wire, self._note = shell, what, wire, note
        self._pending = b""
        self._stderr = b""

    def request(self, line: str, *, deadline: Deadline) -> str:
        begin = time.monotonic()
        self._shell.send_stdin(line.encode() + b"\n", deadline)
        answer = "no answer"
        try:
            answer = self._read_line(deadline)
        finally:
            elapsed_s = time.monotonic() - begin
            self._wire.trips += 1
            self._wire.total_s += elapsed_s
            self._note(f"{line}: {elapsed_s * 1000:.1f} ms -> {answer[:200]}")
        return answer

    def _read_line(self, deadline: Deadline) -> str:
        packets = self._shell.packets(deadline)
        while b"\n" not in self._pending:
            packet, payload = next(packets)
            if packet == _EXIT:
                message = (self._pending + self._stderr).decode(errors="replace").strip()
                raise DeviceLost(
                    f"{self._what} ended on its own with status {payload[0]}: {message or 'no message'}",
                    hint="kernel.log in the run's folder says whether it was killed",
                )
            if packet == _STDOUT:
                self._pending += payload
            elif packet == _STDERR:
                self._stderr += payload
        line, self._pending = self._pending.split(b"\n", 1)
        return line.decode(errors="replace")

    def close(self) -> None:
        with contextlib.suppress(DeviceError):
            self._shell.send(_CLOSE_STDIN, b"", Deadline.after(1))
        self._shell.close()


class AdbTransport:
    """Operations on one phone over the adb server; ``root`` says how commands become root."""

    def __init__(
        self, serial: str, *, root: RootStyle = RootStyle.none, transcript: Transcript | None = None,
        client: AdbClient | None = None,
    ) -> None:  # fmt: skip
        self.serial = serial
        self.root = root
        self.wire = WireTime()
        self.clock_missing = False
        self._client = client or server_client()
        self._transcript = transcript or Transcript(None)

    def execute(self, ops: Sequence[Op], *, deadline: Deadline, keep_going: bool = False) -> list[CommandResult]:
        if not ops:
            return []
        token = f"LAB{secrets.token_hex(8)}"
        script = self.root.wrap(compile_script(ops, token, keep_going=keep_going))
        begin = time.monotonic()
        out, err, status = self._shell(script, b"", str(ops[0]), deadline)
        answer = parse_answer(ops, token, out.decode(errors="replace"), err.decode(errors="replace"))
        elapsed = time.monotonic() - begin
        if answer is None:
            tail = err.decode(errors="replace").strip()[-300:]
            raise CommandFailed(f"{self.serial}: {ops[0]}", status, tail or "the shell ended early")
        self.clock_missing |= answer.on_phone_s is None
        self._count(elapsed, answer.on_phone_s or 0.0)
        self._transcript.add(self.serial, answer.results, elapsed)
        return answer.results

    def start(self, argv: Sequence[str], *, deadline: Deadline) -> Process:
        command = shlex.join(argv)
        self._transcript.note(self.serial, f"start {command}")
        shell = self._open(self.root.wrap(f"exec {command}"), command, deadline)
        return AdbProcess(shell, command, self.wire, partial(self._transcript.note, self.serial))

    def push(self, local: Path, remote: str, *, mode: int = 0o644, deadline: Deadline) -> None:
        part = shlex.quote(f"{remote}.part")
        script = f"cat > {part} && chmod {mode:o} {part} && mv -f {part} {shlex.quote(remote)}"
        self._transfer(f"push {local.name} -> {remote}", script, local.read_bytes(), deadline)

    def pull(self, remote: str, local: Path, *, deadline: Deadline) -> None:
        local.write_bytes(self._transfer(f"pull {remote}", f"cat {shlex.quote(remote)}", b"", deadline))

    def close(self) -> None:
        """Nothing is held open between calls."""

    def _transfer(self, what: str, script: str, stdin: bytes, deadline: Deadline) -> bytes:
        begin = time.monotonic()
        out, err, status = self._shell(self.root.wrap(script), stdin, what, deadline)
        self._count(time.monotonic() - begin, 0.0)
        self._transcript.note(self.serial, f"{what}: {len(stdin) or len(out)} bytes, status {status}")
        if status != 0:
            raise CommandFailed(f"{self.serial}: {what}", status, err.decode(errors="replace"))
        return out

    def _count(self, total_s: float, on_phone_s: float) -> None:
        self.wire.trips += 1
        self.wire.total_s += total_s
        self.wire.on_phone_s += min(on_phone_s, total_s)

    def _shell(self, command: str, stdin: bytes, what: str, deadline: Deadline) -> tuple[bytes, bytes, int]:
        shell = self._open(command, what, deadline)
        streams = {_STDOUT: bytearray(), _STDERR: bytearray()}
        status = 0
        try:
            shell.send_stdin(stdin, deadline)
            shell.send(_CLOSE_STDIN, b"", deadline)
            for packet, payload in shell.packets(deadline):
                if packet in streams:
                    streams[packet] += payload
                elif packet == _EXIT:
                    status = payload[0]
        finally:
            shell.close()
        return bytes(streams[_STDOUT]), bytes(streams[_STDERR]), status

    def _open(self, command: str, what: str, deadline: Deadline) -> ShellConnection:
        if len(command.encode()) > _MAX_COMMAND_BYTES:
            raise DeviceError(f"{what}: a script of {len(command)} bytes is longer than adb takes")
        with translated(self.serial, what, deadline):
            connection = self._client.make_connection(timeout=max(deadline.left_s, 0.001))
            try:
                for service in (f"host:transport:{self.serial}", f"shell,v2,raw:{command}"):
                    connection.conn.settimeout(max(deadline.left_s, 0.001))
                    connection.conn.sendall(f"{len(service.encode()):04x}{service}".encode())
                    connection.check_okay()
            except BaseException:
                connection.conn.close()
                raise
        return ShellConnection(connection, self.serial, what)


@contextmanager
def translated(serial: str, what: str, deadline: Deadline) -> Iterator[None]:
    """The one place where errors of adbutils and of sockets become ours."""
    try:
        yield
    except (TimeoutError, AdbTimeout) as error:
        raise DeviceTimeout(
            f"{serial}: {what}: no answer within {deadline.seconds:g} s",
            hint="is the phone awake and the cable in? `./lab doctor` shows its state; then `./lab restore`",
        ) from error
    except (OSError, EOFError, AdbError) as error:
        raise DeviceLost(
            f"{serial}: {what}: connection lost: {error or type(error).__name__}",
            hint="plug the phone in again, then `./lab restore` puts it back as it was",
        ) from error
