"""The Python library under the conformance suite: a request a line, an answer a line (sdk/conformance/library.ts)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import offshoot_mailbox as library  # noqa: E402

mailbox = None


def text(field):
    return "" if field == "-" else bytes.fromhex(field).decode("utf-8", "replace")


def hexed(data):
    return bytes(data).hex() or "-"


def page_of(field):
    return memoryview(bytearray.fromhex(field))


def pages_of(field):
    memory = page_of(field)
    return [memory[at : at + 4096] for at in range(0, len(memory), 4096)]


def route_of(ack):
    return [ack.transport, str(ack.port), ack.address, f"{ack.nonce:016x}"]


def frames(name, token, nonce, count):
    memory = memoryview(bytearray(b"\xee" * 4096 * int(count)))
    for index in range(int(count)):
        page = memory[index * 4096 : (index + 1) * 4096]
        library._arm_frame(page, text(name).encode(), text(token).encode(), index, int(count), int(nonce, 16))
    return [hexed(memory)]


def header(page):
    read = library._read_header(page_of(page))
    place = [str(read.segment_index), str(read.segment_count)]
    return [hexed(read.name.encode()), hexed(read.token.encode()), *place, f"{read.nonce:016x}", read.state, str(read.generation)]


def segment(page):
    read = library._read_segment(page_of(page))
    return [str(read.generation), read.content_type, hexed(read.payload), str(read.total), *route_of(read.ack)]


def whole(name, nonce, pages):
    if any(library._generation(page) == 0 for page in pages_of(pages)):
        return ["incomplete"]
    read = library._read_mailbox(pages_of(pages), text(name), int(nonce, 16))
    return [str(read.generation), read.content_type, hexed(read.payload), *route_of(read.ack)]


def ack_line(name, generation, nonce, stage, detail):
    return [library._format_ack(text(name), int(generation), int(nonce, 16), stage, text(detail))]


def ack_ok(line):
    nonce = library._parse_ack_ok(b"" if line == "-" else bytes.fromhex(line))
    return ["none" if nonce is None else f"{nonce:016x}"]


def arm(name, token, capacity):
    global mailbox
    mailbox = library.arm(text(name), None if token == "-" else text(token), int(capacity))
    return [hexed(mailbox.token.encode()), str(mailbox.capacity)]


def rearm(token):
    mailbox.rearm(None if token == "-" else text(token))
    return [hexed(mailbox.token.encode())]


def wait(timeout_ms, keep):
    delivery = mailbox.wait(None if timeout_ms == "-" else int(timeout_ms) / 1000, keep == "keep")
    return [str(delivery.generation), delivery.content_type, hexed(delivery.payload)]


def ack(stage, detail, timeout_ms):
    return [str(mailbox.ack(stage, text(detail), int(timeout_ms) / 1000)).lower()]


class SeenWiped:
    """Nobody can look at pages that were given back: that they were wiped is seen right before."""

    def __init__(self, memory):
        self.memory = memory

    def close(self):
        assert self.memory.closed or not any(self.memory[:]), "given back with something in it"
        self.memory.close()


def dispose():
    if not isinstance(mailbox._memory, SeenWiped):
        mailbox._memory = SeenWiped(mailbox._memory)
    mailbox.dispose()
    return ["ok"]


REQUESTS = {
    "frames": frames,
    "header": header,
    "segment": segment,
    "mailbox": whole,
    "ack-line": ack_line,
    "ack-ok": ack_ok,
    "arm": arm,
    "rearm": rearm,
    "wait": wait,
    "ack": ack,
    "dispose": dispose,
}

for line in sys.stdin:
    request, *fields = line.split()
    try:
        answer = REQUESTS[request](*fields)
    except library.MailboxCorrupt as error:
        answer = ["!", error.reason, error.problem]
    except library.MailboxError as error:
        answer = ["!", error.reason]
    print(*answer, flush=True)
