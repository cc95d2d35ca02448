"""Mailboxes of Offshoot: data the host puts into this process's memory before a forked VM runs on.

A program arms a mailbox and waits; the VM is parked in that wait, and every fork goes on from it with its own payload:

    with offshoot_mailbox.arm("task") as mailbox:
        delivery = mailbox.wait()
        mailbox.ack("applied", f"{len(delivery.payload)} bytes")

Pure Python, for Linux. An agent that answers on its socket is told of the pages, and says when this fork's own identity is
in force; without one everything works by looking at the memory.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import re
import secrets
import select
import socket
import struct
import time
import zlib
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional, Sequence

__all__ = ["MAX_CAPACITY", "Delivery", "Mailbox", "MailboxCorrupt", "MailboxError", "MailboxTimeout", "arm"]

# The frame, version 1: docs/mailboxes.md.
_FRAME = 4096
_MAGIC = b"OFFSHOOT-MBOX-1\0"
_NAME_FIELD = slice(16, 80)
_TOKEN_FIELD = slice(80, 208)
_HEADER = struct.Struct("<HHIQI")  # at 208: segment index, segment count, state, nonce, generation
_HEADER_OFFSET = 208
_STATE_OFFSET = 212
_GENERATION_OFFSET = 224
_DELIVERY = struct.Struct("<IIBBH4sIQ")  # at 228: length, CRC-32, content type, ack transport, port, address, total, nonce
_DELIVERY_OFFSET = 228
_PAYLOAD_OFFSET = 256
_SEGMENT = _FRAME - _PAYLOAD_OFFSET
_MAX_SEGMENTS = 64
_MAX_GENERATION = 0xFFFFFFFF
_STATES = {1: "armed", 2: "delivered", 3: "consumed", 4: "disposed"}
_ARMED, _CONSUMED = 1, 3
_CONTENT_TYPES = {1: "json", 2: "bytes"}
_TRANSPORTS = {0: "none", 1: "udp", 2: "vsock", 3: "channel"}

MAX_CAPACITY = _MAX_SEGMENTS * _SEGMENT
"""Largest payload a mailbox can be armed for, in bytes."""

_NAME = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_RESERVED_PREFIX = "offshoot."
_STAGES = ("received", "applied", "failed")
_MAX_ACK_BYTES = 1200
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")
_ACK_OK = re.compile(rb"offshoot-ack-ok nonce=([0-9a-f]{16})")

# All in seconds.
_LOOK_ALONE, _LOOK_BESIDES_AGENT = 0.02, 1.0
_AGENT_GRACE = 5.0  # that a delivery may stand before an agent which says nothing of it is taken for hung
_AGENT_ANSWER, _AGENT_ACK_ANSWER = 5.0, 35.0  # an ack it repeats for 30 s itself
_LONGEST_WATCH = 24 * 3600  # it can be given; without a limit it answers when there is something
_FIRST_PAUSE, _MAX_PAUSE, _ACK_DEADLINE = 0.005, 1.0, 30.0


class MailboxError(Exception):
    """What went wrong, with a stable `reason` to branch on, as `MAILBOX_NAME_TAKEN`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class MailboxTimeout(MailboxError):
    """Nothing was delivered in time (`MAILBOX_EMPTY`), or the host did not confirm the ack (`ACK_UNCONFIRMED`)."""


class MailboxCorrupt(MailboxError):
    """What stands in the frames is no whole delivery (`MAILBOX_FRAME_CORRUPT`); `problem` is the field that is wrong."""

    def __init__(self, problem: str, message: str) -> None:
        super().__init__("MAILBOX_FRAME_CORRUPT", f"mailbox frame: {message}")
        self.problem = problem


@dataclass(frozen=True)
class Delivery:
    """What the host delivered. The payload is the caller's, to wipe as well: the library keeps no copy."""

    payload: bytearray
    content_type: str
    """`json` or `bytes`"""
    generation: int


def arm(name: str, token: Optional[str] = None, capacity: int = _SEGMENT) -> Mailbox:
    """Arms a mailbox for payloads of at most `capacity` bytes; without a token it gets one of 128 random bits.

    Raises MailboxError: MAILBOX_NAME_MALFORMED, MAILBOX_NAME_RESERVED, MAILBOX_TOKEN_MALFORMED, INVALID_FIELD for a
    capacity over MAX_CAPACITY, and MAILBOX_NAME_TAKEN when the agent holds the name for somebody else.
    """
    return Mailbox(name, token, capacity)


class Mailbox:
    """A named mailbox in pages of this process, from arming to disposal. For one thread at a time.

    A child made by `os.fork` has neither the pages nor the use of this: a copy would make the mailbox ambiguous.
    """

    def __init__(self, name: str, token: Optional[str] = None, capacity: int = _SEGMENT) -> None:
        if not _NAME.fullmatch(name):
            raise MailboxError("MAILBOX_NAME_MALFORMED", f"name: must be 1 to 64 of A-Z a-z 0-9 . _ : -, got {name!r}")
        if name.startswith(_RESERVED_PREFIX):
            raise MailboxError("MAILBOX_NAME_RESERVED", f"name: those beginning with {_RESERVED_PREFIX} are reserved")
        if not 1 <= capacity <= MAX_CAPACITY:
            raise MailboxError("INVALID_FIELD", f"capacity: must be 1 to {MAX_CAPACITY} bytes, got {capacity}")
        first_token = _token_bytes(token) if token is not None else bytearray(secrets.token_hex(16), "ascii")
        self.name = name
        self._owner = os.getpid()
        self._nonce = 0
        self._is_taken = False
        self._answerable: Optional[_Whole] = None
        self._agent: Optional[_AgentLink] = None
        size = -(-capacity // _SEGMENT) * _FRAME
        self._memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_DONTFORK"):
            self._memory.madvise(mmap.MADV_DONTFORK)
        view = memoryview(self._memory)
        self._pages = [view[at : at + _FRAME] for at in range(0, len(view), _FRAME)]
        view.release()
        try:
            self._arm(first_token)
        except BaseException:
            self.dispose()
            raise

    @property
    def token(self) -> str:
        """Read from the frame, the only place where it is kept."""
        return (_padded(self._own_pages()[0], _TOKEN_FIELD) or b"").decode()

    @property
    def capacity(self) -> int:
        """In bytes; whole segments, so perhaps more than was asked for."""
        return len(self._own_pages()) * _SEGMENT

    def rearm(self, token: Optional[str] = None) -> None:
        """Wipes what was delivered and arms the same pages with a new nonce; keeps the token unless another is given."""
        self._arm(bytearray(self.token, "utf-8") if token is None else _token_bytes(token))

    def wait(self, timeout: Optional[float] = None, keep: bool = False) -> Delivery:
        """Blocks until something is delivered; for ever without a `timeout` in seconds.

        The payload is wiped from the frames, unless they `keep` the delivery: then `wait` gives it again. Raises
        MailboxTimeout MAILBOX_EMPTY, MailboxCorrupt for a torn delivery, MailboxError MAILBOX_CONSUMED for one that was
        taken, until the next `rearm`.
        """
        pages = self._own_pages()
        if self._is_taken:
            raise MailboxError("MAILBOX_CONSUMED", f"what was delivered into {self.name} was taken: arm it again")
        self._await_delivery(pages, None if timeout is None else time.monotonic() + timeout)
        try:
            self._is_taken = True
            self._answerable = whole = _read_mailbox(pages, self.name, self._nonce)
            self._is_taken = not keep
            return Delivery(whole.payload, whole.content_type, whole.generation)
        finally:
            if self._is_taken:
                for page in pages:
                    _consume_frame(page)

    def ack(self, stage: str = "applied", detail: str = "", timeout: float = _ACK_DEADLINE) -> bool:
        """Tells the host how it went (`applied`, `failed`, `received`), until it has confirmed that; then True.

        A detail that is too long is cut. False where the delivery asks for no answer, or for one through an agent that
        is not there. Raises MailboxTimeout ACK_UNCONFIRMED after `timeout` seconds; MailboxError MAILBOX_EMPTY without a
        delivery, INVALID_FIELD for another stage.
        """
        self._own_pages()
        if stage not in _STAGES:
            raise MailboxError("INVALID_FIELD", f"stage: must be one of {', '.join(_STAGES)}, got {stage!r}")
        delivered = self._answerable
        if delivered is None:
            raise MailboxError("MAILBOX_EMPTY", f"nothing was delivered into {self.name} that could be acknowledged")
        route = delivered.ack
        line = _format_ack(self.name, delivered.generation, route.nonce, stage, detail)
        if route.transport == "udp":
            return _send_until_confirmed(line, route, timeout)
        if route.transport == "none":
            return False
        # The agent's channel is its own; to vsock it knows the way.
        return self._ack_through_agent(line, min(timeout, _AGENT_ACK_ANSWER))

    def dispose(self) -> None:
        """Wipes token and payload and gives the pages back. Safe to repeat."""
        pages, self._pages = self._pages, []
        self._answerable = None
        is_own = os.getpid() == self._owner
        if self._agent is not None:
            if is_own and pages:
                self._agent.detach(self.name)
            self._agent.close()
            self._agent = None
        for page in pages:
            if is_own:
                page[:] = bytes(_FRAME)
            page.release()
        if is_own:
            self._memory.close()

    def __enter__(self) -> Mailbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.dispose()

    def _own_pages(self) -> Sequence[memoryview]:
        if not self._pages:
            raise MailboxError("MAILBOX_DISPOSED", f"mailbox {self.name} was disposed of")
        if os.getpid() != self._owner:
            raise MailboxError("MAILBOX_DISPOSED", f"mailbox {self.name} is the parent process's")
        return self._pages

    def _arm(self, token: bytearray) -> None:
        pages = self._own_pages()
        self._is_taken, self._answerable = False, None
        self._nonce = secrets.randbits(64)
        for index, page in enumerate(pages):
            _arm_frame(page, self.name.encode(), token, index, len(pages), self._nonce)
        token[:] = bytes(len(token))
        self._attach()

    def _attach(self) -> None:
        """Tells the agent where the frames are. One that is too old, cannot see them or does not answer is done without."""
        self._agent = self._agent or _AgentLink.connect()
        if self._agent is None:
            return
        first = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        addresses = [f"{first + at:x}" for at in range(0, len(self._memory), _FRAME)]
        request = {"op": "attach", "name": self.name, "pid": self._owner, "addresses": addresses}
        try:
            refused = _refusal(self._agent.ask(request, _AGENT_ANSWER))
        except _AgentGone:
            refused = "gone"
        if refused == "MAILBOX_NAME_TAKEN":
            raise MailboxError(refused, f"the guest agent holds a mailbox {self.name} for somebody else")
        if refused is not None:
            self._without_agent()

    def _without_agent(self) -> None:
        if self._agent is not None:
            self._agent.close()
        self._agent = None

    def _await_delivery(self, pages: Sequence[memoryview], deadline: Optional[float]) -> None:
        """Returns when every frame has its generation, and the agent, where there is one, has said that it counts."""
        watch = self._watch(deadline)
        stands_since: Optional[float] = None
        while True:
            now = time.monotonic()
            if all(_generation(page) != 0 for page in pages):
                stands_since = now if stands_since is None else stands_since
                if self._agent is None or now - stands_since >= _AGENT_GRACE:
                    self._without_agent()
                    return
            if deadline is not None and now >= deadline:
                raise MailboxTimeout("MAILBOX_EMPTY", f"nothing was delivered into {self.name} in time")
            pause = _LOOK_ALONE if self._agent is None else _LOOK_BESIDES_AGENT
            pause = pause if deadline is None else min(pause, deadline - now)
            if self._agent is None:
                time.sleep(pause)
            elif self._is_told(watch, pause) and all(_generation(page) != 0 for page in pages):
                return

    def _watch(self, deadline: Optional[float]) -> int:
        if self._agent is None:
            return 0
        left = _LONGEST_WATCH + 1 if deadline is None else deadline - time.monotonic()
        limit = {"timeoutMs": max(0, int(left * 1000))} if left <= _LONGEST_WATCH else {}
        try:
            return self._agent.send({"op": "watch", "name": self.name, **limit})
        except _AgentGone:
            self._without_agent()
            return 0

    def _is_told(self, watch: int, timeout: float) -> bool:
        """Whether the agent says within the time that there is a delivery and that it counts."""
        assert self._agent is not None
        try:
            answer = self._agent.answer(watch, timeout)
        except _AgentGone:
            self._without_agent()
            return False
        if answer is None:
            return False
        if _refusal(answer) is None:
            return True
        if _refusal(answer) != "MAILBOX_EMPTY":
            self._without_agent()
        return False

    def _ack_through_agent(self, line: str, timeout: float) -> bool:
        if self._agent is None:
            return False
        try:
            answer = self._agent.ask({"op": "send-ack", "line": line}, timeout)
        except _AgentGone:
            self._without_agent()
            return False
        refused = _refusal(answer)
        if refused is None:
            return answer.get("confirmed") is True
        if refused == "ACK_UNCONFIRMED":
            raise MailboxTimeout(refused, "the host did not confirm the acknowledgement")
        raise MailboxError(refused, "the guest agent refused the acknowledgement")


# Frames.


class _AckRoute(NamedTuple):
    transport: str
    port: int
    address: str
    nonce: int


class _Header(NamedTuple):
    name: str
    token: str
    segment_index: int
    segment_count: int
    state: str
    nonce: int
    generation: int


class _Segment(NamedTuple):
    """What was delivered into one frame; `total` is over all of them."""

    generation: int
    content_type: str
    payload: bytearray
    total: int
    ack: _AckRoute


class _Whole(NamedTuple):
    """What was delivered over all frames."""

    generation: int
    content_type: str
    payload: bytearray
    ack: _AckRoute


def _token_bytes(token: str) -> bytearray:
    try:
        data = bytearray(token, "utf-8")
    except UnicodeEncodeError:
        data = bytearray()
    if not 1 <= len(data) <= 128 or 0 in data:
        raise MailboxError("MAILBOX_TOKEN_MALFORMED", "token: must be 1 to 128 bytes of UTF-8 without NUL")
    return data


def _arm_frame(page: memoryview, name: bytes, token: bytes, index: int, count: int, nonce: int) -> None:
    """Wipes a frame and writes its marker, magic and state last: before them it is no frame."""
    page[:] = bytes(_FRAME)
    page[_NAME_FIELD.start : _NAME_FIELD.start + len(name)] = name
    page[_TOKEN_FIELD.start : _TOKEN_FIELD.start + len(token)] = token
    _HEADER.pack_into(page, _HEADER_OFFSET, index, count, 0, nonce, 0)
    page[: len(_MAGIC)] = _MAGIC
    struct.pack_into("<I", page, _STATE_OFFSET, _ARMED)


def _consume_frame(page: memoryview) -> None:
    """Marks the delivery as taken out and leaves nothing of its payload."""
    struct.pack_into("<I", page, _STATE_OFFSET, _CONSUMED)
    page[_PAYLOAD_OFFSET:] = bytes(_SEGMENT)


def _padded(page: memoryview, field: slice) -> Optional[bytes]:
    """The field up to its padding; None when anything but NULs follows the first NUL."""
    value, _, rest = bytes(page[field]).partition(b"\0")
    return None if rest.strip(b"\0") else value


def _generation(page: memoryview) -> int:
    return int.from_bytes(page[_GENERATION_OFFSET : _GENERATION_OFFSET + 4], "little")


def _read_header(page: memoryview) -> _Header:
    """Raises MailboxCorrupt."""
    if bytes(page[: len(_MAGIC)]) != _MAGIC:
        raise MailboxCorrupt("magic", "magic missing")
    name = _padded(page, _NAME_FIELD)
    if name is None or not _NAME.fullmatch(name.decode("latin-1")):
        raise MailboxCorrupt("name", "name is malformed")
    token = _padded(page, _TOKEN_FIELD)
    if not token:
        raise MailboxCorrupt("token", "token is malformed")
    try:
        token_text = token.decode("utf-8")
    except UnicodeDecodeError:
        raise MailboxCorrupt("token", "token is not UTF-8") from None
    index, count, state_value, nonce, generation = _HEADER.unpack_from(page, _HEADER_OFFSET)
    if count > _MAX_SEGMENTS or index >= count:
        raise MailboxCorrupt("segments", f"segment {index} of {count}")
    state = _STATES.get(state_value)
    if state is None:
        raise MailboxCorrupt("state", f"state is {state_value}")
    if state == "armed" and generation == _MAX_GENERATION:
        raise MailboxCorrupt("generation", "generation cannot grow any more")
    return _Header(name.decode("ascii"), token_text, index, count, state, nonce, generation)


def _read_segment(page: memoryview) -> _Segment:
    """What the host delivered into one frame. Raises MailboxCorrupt when lengths or checksum do not fit."""
    generation = _generation(page)
    if generation == 0:
        raise MailboxCorrupt("generation", "nothing was delivered yet")
    length, crc, content, transport, port, address, total, nonce = _DELIVERY.unpack_from(page, _DELIVERY_OFFSET)
    if length > _SEGMENT:
        raise MailboxCorrupt("length", f"payload of {length} bytes")
    (count,) = struct.unpack_from("<H", page, _HEADER_OFFSET + 2)
    if not 1 <= count <= _MAX_SEGMENTS:
        raise MailboxCorrupt("segments", f"segment count is {count}")
    if not length <= total <= length + _SEGMENT * (count - 1):
        raise MailboxCorrupt("length", f"total length is {total}, of which {length} bytes are here")
    payload = bytearray(page[_PAYLOAD_OFFSET : _PAYLOAD_OFFSET + length])
    if zlib.crc32(payload) != crc:
        raise MailboxCorrupt("checksum", "payload checksum differs")
    if content not in _CONTENT_TYPES:
        raise MailboxCorrupt("content-type", "content type is unknown")
    if transport not in _TRANSPORTS:
        raise MailboxCorrupt("ack", "ack transport is unknown")
    route = _AckRoute(_TRANSPORTS[transport], port, socket.inet_ntoa(address), nonce)
    return _Segment(generation, _CONTENT_TYPES[content], payload, total, route)


def _read_mailbox(pages: Sequence[memoryview], name: str, nonce: int) -> _Whole:
    """What was delivered over all frames of one arming. Raises MailboxCorrupt for anything less than one whole delivery."""
    segments: list[_Segment] = []
    token = _padded(pages[0], _TOKEN_FIELD)
    for index, page in enumerate(pages):
        header = _read_header(page)
        expected = {"name": name, "token": (token or b"").decode("utf-8", "replace"), "nonce": nonce, "state": "delivered"}
        for field, value in expected.items():
            if getattr(header, field) != value:
                raise MailboxCorrupt(field, f"segment {index}: {field} is not that of this mailbox")
        if (header.segment_index, header.segment_count) != (index, len(pages)):
            raise MailboxCorrupt("segments", f"segment {index}: says {header.segment_index} of {header.segment_count}")
        segments.append(_read_segment(page))
    first = segments[0]
    payload = bytearray().join(segment.payload for segment in segments)
    for problem, field in (("generation", "generation"), ("length", "total"), ("content-type", "content_type"), ("ack", "ack")):
        if any(getattr(segment, field) != getattr(first, field) for segment in segments):
            raise MailboxCorrupt(problem, f"{field} differs between the segments")
    if len(payload) != first.total:
        raise MailboxCorrupt("length", f"{len(payload)} bytes of {first.total}")
    return _Whole(first.generation, first.content_type, payload, first.ack)


# Acknowledgements.


def _format_ack(mailbox: str, generation: int, nonce: int, stage: str, detail: str) -> str:
    """The line for an ack. A detail that would make it too long is cut at a character."""
    line = f"offshoot-ack v=1 mailbox={mailbox} generation={generation} nonce={nonce:016x} stage={stage}"
    if detail == "":
        return line
    line += " detail="
    for character in detail:
        # A surrogate by itself is no character that UTF-8 could say.
        data = ("\ufffd" if "\ud800" <= character <= "\udfff" else character).encode()
        encoded = "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in data)
        if len(line) + len(encoded) > _MAX_ACK_BYTES:
            break
        line += encoded
    return line


def _parse_ack_ok(datagram: bytes) -> Optional[int]:
    """The nonce of the host's `offshoot-ack-ok` line; None for anything else."""
    match = _ACK_OK.fullmatch(datagram)
    return None if match is None else int(match[1], 16)


def _send_until_confirmed(line: str, route: _AckRoute, timeout: float) -> bool:
    """Repeats the datagram: one sent right after an address change is lost without an error, and the first often is."""
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        while time.monotonic() < deadline:
            # Looked up each time: the route may come with the fork's identity, which is not in force yet.
            address = _default_gateway() if route.address == "0.0.0.0" else route.address
            try:
                if address is not None:
                    sender.sendto(line.encode("ascii"), (address, route.port))
            except OSError:
                pass  # a datagram lost
            if _hears_confirmation(sender, route.nonce, min(time.monotonic() + pause, deadline)):
                return True
            pause = min(2 * pause, _MAX_PAUSE)
    raise MailboxTimeout("ACK_UNCONFIRMED", f"the host did not confirm the acknowledgement in {timeout:g} s")


def _hears_confirmation(sender: socket.socket, nonce: int, until: float) -> bool:
    while True:
        left = until - time.monotonic()
        if left <= 0 or not select.select([sender], [], [], left)[0]:
            return False
        try:
            if _parse_ack_ok(sender.recv(256)) == nonce:
                return True
        except OSError:
            pass  # an ICMP error of an earlier datagram


def _default_gateway() -> Optional[str]:
    """IPv4 gateway of the default route as the kernel has it; None without one."""
    try:
        with open("/proc/net/route", encoding="ascii") as routes:
            rows = [line.split() for line in routes]
    except OSError:
        return None
    for _, destination, gateway, _, _, _, _, mask, *_ in rows[1:]:
        if destination == mask == "00000000" and gateway != "00000000":
            return socket.inet_ntoa(struct.pack("<I", int(gateway, 16)))
    return None


# The guest agent.


class _AgentGone(Exception):
    """The agent's connection ended, or what it says cannot be understood."""


def _refusal(answer: dict[str, Any]) -> Optional[str]:
    """The reason of a refusal; None for a yes."""
    if answer.get("ok") is True:
        return None
    error = answer.get("error")
    return str(error.get("reason")) if isinstance(error, dict) else "INTERNAL"


class _AgentLink:
    """A connection to the guest agent's local socket: a JSON object a line each way, answers told apart by their id."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""
        self._last_id = 0

    @classmethod
    def connect(cls) -> Optional[_AgentLink]:
        """None where no agent listens."""
        path = os.environ.get("OFFSHOOT_GUEST_SOCKET", "/run/offshoot/guest.sock")
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_AGENT_ANSWER)
            connection.connect(path)
        except OSError:
            connection.close()
            return None
        return cls(connection)

    def send(self, request: dict[str, Any]) -> int:
        """Returns the id of its answer. Raises _AgentGone."""
        self._last_id += 1
        try:
            self._connection.sendall(json.dumps({"id": self._last_id, **request}).encode() + b"\n")
        except OSError as error:
            raise _AgentGone() from error
        return self._last_id

    def answer(self, request_id: int, timeout: float) -> Optional[dict[str, Any]]:
        """None when it has not come within the seconds. Answers to requests nobody waits for any more are dropped. Raises _AgentGone."""
        deadline = time.monotonic() + timeout
        while True:
            line, newline, rest = self._received.partition(b"\n")
            if newline:
                self._received = rest
                answer = self._parsed(line)
                if answer.get("id") == request_id:
                    return answer
                continue
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._connection], [], [], left)[0]:
                return None
            try:
                chunk = self._connection.recv(65536)
            except OSError as error:
                raise _AgentGone() from error
            if not chunk:
                raise _AgentGone()
            self._received += chunk

    def ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Raises _AgentGone, also when the answer does not come within the seconds."""
        answer = self.answer(self.send(request), timeout)
        if answer is None:
            raise _AgentGone()
        return answer

    def detach(self, name: str) -> None:
        """Waited for: the name can be armed again by somebody else as soon as this returns."""
        try:
            self.ask({"op": "detach", "name": name}, _AGENT_ANSWER)
        except _AgentGone:
            pass  # what was attached over it is gone with it

    def close(self) -> None:
        self._connection.close()

    @staticmethod
    def _parsed(line: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise _AgentGone() from error
        if not isinstance(answer, dict):
            raise _AgentGone()
        return answer
