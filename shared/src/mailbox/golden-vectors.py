#!/usr/bin/env python3
"""Prints golden-vectors.json: frames, whole mailboxes, acks and what must be refused, derived from the specification's table alone.

This shares no code with the codec it judges: offsets stand here a second time on purpose. Frames are given by their
non-zero ranges. usage: python3 golden-vectors.py > golden-vectors.json && npx prettier --write golden-vectors.json
"""

import hashlib
import json
import struct
import sys
import zlib

FRAME = 4096
ARMED, DELIVERED, CONSUMED, DISPOSED = 1, 2, 3, 4
JSON_TYPE, BYTES_TYPE = 1, 2


def ranges(page):
    """Runs of bytes that are not all zero, of a page or a payload; zero gaps under 8 bytes stay inside a run."""
    out, start, last = [], None, None
    for i, byte in enumerate(page):
        if not byte:
            continue
        if start is not None and i - last > 8:
            out.append({"offset": start, "hex": page[start : last + 1].hex()})
            start = None
        start, last = (i if start is None else start), i
    if start is not None:
        out.append({"offset": start, "hex": page[start : last + 1].hex()})
    return out


def marker(name=b"task", token=b"tk", index=0, count=1, nonce=0x0123456789ABCDEF, state=ARMED, generation=0):
    page = bytearray(FRAME)
    page[0:16] = b"OFFSHOOT-MBOX-1\0"
    page[16 : 16 + len(name)] = name
    page[80 : 80 + len(token)] = token
    struct.pack_into("<HHIQI", page, 208, index, count, state, nonce, generation)
    return page


def delivered(page, generation, payload, kind, transport, port, ip, total, nonce, state=DELIVERED):
    page = bytearray(page)
    struct.pack_into("<I", page, 212, state)
    struct.pack_into("<IIIBBH", page, 224, generation, len(payload), zlib.crc32(payload), kind, transport, port)
    page[240:244] = bytes(ip)
    struct.pack_into("<IQ", page, 244, total, nonce)
    page[256 : 256 + len(payload)] = payload
    return page


def patched(page, offset, data):
    page = bytearray(page)
    page[offset : offset + len(data)] = data
    return page


STATES = {ARMED: "armed", DELIVERED: "delivered", CONSUMED: "consumed", DISPOSED: "disposed"}
KINDS = {JSON_TYPE: "json", BYTES_TYPE: "bytes"}
TRANSPORTS = ["none", "udp", "vsock", "channel"]
frames, rejected_frames = [], []


def frame(title, page):
    """Records the frame with every field as it is read back from the table's offsets."""
    name = bytes(page[16:80]).rstrip(b"\0").decode("ascii")
    token = bytes(page[80:208]).rstrip(b"\0").decode("utf-8")
    index, count, state, nonce, generation = struct.unpack_from("<HHIQI", page, 208)
    entry = {
        "title": title,
        "ranges": ranges(page),
        "header": {
            "name": name,
            "token": token,
            "segmentIndex": index,
            "segmentCount": count,
            "nonce": f"{nonce:016x}",
            "state": STATES[state],
            "generation": generation,
        },
    }
    if generation:
        length, crc, kind, transport, port = struct.unpack_from("<IIBBH", page, 228)
        total, ack_nonce = struct.unpack_from("<IQ", page, 244)
        entry["delivery"] = {
            "generation": generation,
            "contentType": KINDS[kind],
            "payload": bytes(page[256 : 256 + length]).hex(),
            "totalLength": total,
            "ack": {
                "transport": TRANSPORTS[transport],
                "port": port,
                "address": ".".join(map(str, page[240:244])),
                "nonce": f"{ack_nonce:016x}",
            },
        }
    frames.append(entry)


def refuse(title, reader, problem, page):
    rejected_frames.append({"title": title, "reader": reader, "problem": problem, "ranges": ranges(page)})


ACK = 0xFEDCBA9876543210
hello = b'{"hello":"w\xc3\xb6rld"}'
full = bytes((i * 7 + 1) & 0xFF for i in range(3840))
frame("an armed mailbox of one segment", marker())
frame("the longest name and the longest token", marker(b"Az09._:-" * 8, b"t" * 128, nonce=0xFFFFFFFFFFFFFFFF))
frame("a token of several scripts", marker(token="schlüssel-鍵-🔑".encode()))
frame("the network hand-off", marker(b"offshoot.network", b"0" * 32, nonce=1))
frame("the last of 64 segments", marker(index=63, count=64))
frame("a JSON delivery acknowledged over UDP", delivered(marker(), 1, hello, JSON_TYPE, 1, 40123, (10, 0, 2, 2), len(hello), ACK))
frame("a delivery of no bytes without an ack", delivered(marker(), 1, b"", BYTES_TYPE, 0, 0, (0, 0, 0, 0), 0, 0))
frame("a full payload acknowledged over vsock", delivered(marker(), 2, full, BYTES_TYPE, 2, 65535, (0, 0, 0, 0), 3840, 1))
frame("the second of three segments over the agent's channel", delivered(marker(index=1, count=3), 7, full, BYTES_TYPE, 3, 0, (0, 0, 0, 0), 3840 * 2 + 5, ACK))
frame("the highest generation", delivered(marker(), 0xFFFFFFFF, b"x", BYTES_TYPE, 1, 1, (255, 254, 253, 252), 1, ACK))
frame("a consumed delivery", delivered(marker(), 1, hello, JSON_TYPE, 1, 40123, (10, 0, 2, 2), len(hello), ACK, CONSUMED))
frame("a disposed mailbox that kept its name", marker(state=DISPOSED))

good = delivered(marker(), 1, hello, JSON_TYPE, 1, 40123, (10, 0, 2, 2), len(hello), ACK)
refuse("an empty page", "header", "magic", bytearray(FRAME))
refuse("the magic without its NUL", "header", "magic", patched(marker(), 15, b"!"))
refuse("the magic of another version", "header", "magic", patched(marker(), 14, b"2"))
refuse("no name", "header", "name", marker(b""))
refuse("a name with a space", "header", "name", marker(b"a b"))
refuse("a name beyond ASCII", "header", "name", marker("ä".encode()))
refuse("something after the name's padding", "header", "name", patched(marker(), 79, b"x"))
refuse("no token", "header", "token", marker(token=b""))
refuse("something after the token's padding", "header", "token", patched(marker(), 207, b"x"))
refuse("a token that is not UTF-8", "header", "token", marker(token=b"\xc3("))
refuse("no segment", "header", "segments", marker(count=0))
refuse("65 segments", "header", "segments", marker(count=65))
refuse("a segment beyond the last", "header", "segments", marker(index=1, count=1))
refuse("state 0", "header", "state", marker(state=0))
refuse("state 5", "header", "state", marker(state=5))
refuse("state with a high byte set", "header", "state", patched(marker(), 215, b"\x01"))
refuse("an armed frame whose generation cannot grow", "header", "generation", marker(generation=0xFFFFFFFF))
refuse("nothing delivered", "delivery", "generation", patched(good, 224, b"\0\0\0\0"))
full_page = delivered(marker(), 1, full, BYTES_TYPE, 0, 0, (0, 0, 0, 0), 3841, 0)
refuse("a length over the capacity", "delivery", "length", patched(full_page, 228, struct.pack("<I", 3841)))
refuse("a total below the length", "delivery", "length", patched(good, 244, struct.pack("<I", len(hello) - 1)))
refuse("a total one segment cannot hold", "delivery", "length", patched(good, 244, struct.pack("<I", len(hello) + 1)))
refuse("a total three segments cannot hold", "delivery", "length", delivered(marker(count=3), 1, hello, JSON_TYPE, 0, 0, (0, 0, 0, 0), len(hello) + 7681, 0))
refuse("a delivery into no segment", "delivery", "segments", patched(good, 210, b"\0\0"))
refuse("a delivery into 65 segments", "delivery", "segments", patched(good, 210, b"\x41\0"))
refuse("one flipped bit in the payload", "delivery", "checksum", patched(good, 256, bytes([good[256] ^ 1])))
refuse("another checksum", "delivery", "checksum", patched(good, 232, b"\0\0\0\0"))
refuse("content type 0", "delivery", "content-type", patched(good, 236, b"\0"))
refuse("content type 3", "delivery", "content-type", patched(good, 236, b"\x03"))
refuse("ack transport 4", "delivery", "ack", patched(good, 237, b"\x04"))

SEGMENT = 3840
mailboxes, incomplete_mailboxes, rejected_mailboxes = [], [], []


def armed_segments(count, **fields):
    return [marker(index=i, count=count, **fields) for i in range(count)]


def fill(pages, payload, generation=1, kind=BYTES_TYPE, transport=1, port=40123, ip=(10, 0, 2, 2), nonce=ACK):
    """The payload over all segments in order; those behind its end get none of it, and the generation all the same."""
    parts = [payload[i * SEGMENT : (i + 1) * SEGMENT] for i in range(len(pages))]
    return [delivered(p, generation, part, kind, transport, port, ip, len(payload), nonce) for p, part in zip(pages, parts)]


def sparse(length):
    """A payload that names each segment at its beginning and marks its end, and is zero elsewhere: short as ranges."""
    payload = bytearray(length)
    for start in range(0, length, SEGMENT):
        end = min(start + SEGMENT, length)
        text = b"segment %d" % (start // SEGMENT)
        payload[start : min(start + len(text), end)] = text[: end - start]
        payload[end - 1] = 0xFF
    return bytes(payload)


def described(title, pages):
    """A mailbox as whoever armed it knows it, and its pages as they stand."""
    name, token = (bytes(pages[0][a:b]).rstrip(b"\0").decode() for a, b in ((16, 80), (80, 208)))
    nonce = struct.unpack_from("<Q", pages[0], 216)[0]
    armed = {"name": name, "token": token, "nonce": f"{nonce:016x}", "segmentCount": len(pages)}
    return {"title": title, "armed": armed, "segments": [ranges(page) for page in pages]}


def mailbox(title, pages, payload):
    generation = struct.unpack_from("<I", pages[0], 224)[0]
    kind, transport, port = struct.unpack_from("<BBH", pages[0], 236)
    ack_nonce = struct.unpack_from("<Q", pages[0], 248)[0]
    mailboxes.append(
        {
            **described(title, pages),
            "delivery": {
                "generation": generation,
                "contentType": KINDS[kind],
                "payload": {"length": len(payload), "ranges": ranges(payload)},
                "ack": {
                    "transport": TRANSPORTS[transport],
                    "port": port,
                    "address": ".".join(map(str, pages[0][240:244])),
                    "nonce": f"{ack_nonce:016x}",
                },
            },
        }
    )


def incomplete(title, pages):
    incomplete_mailboxes.append(described(title, pages))


def refuse_mailbox(title, problem, pages, first=0):
    """`first`: a segment that is as it was armed, where the first one is what is wrong."""
    entry = described(title, pages)
    entry["armed"] = described(title, [pages[first]] * len(pages))["armed"]
    rejected_mailboxes.append({**entry, "problem": problem})


def with_segment(pages, index, page):
    return [page if i == index else other for i, other in enumerate(pages)]


three = sparse(2 * SEGMENT + 5)
filled = fill(armed_segments(3), three)
mailbox("one segment of JSON", fill(armed_segments(1), hello, kind=JSON_TYPE), hello)
mailbox("three segments, the last one short", filled, three)
mailbox("three segments of which the payload fills one exactly", fill(armed_segments(3), sparse(SEGMENT)), sparse(SEGMENT))
mailbox("two segments for one byte more than one holds", fill(armed_segments(2), sparse(SEGMENT + 1)), sparse(SEGMENT + 1))
mailbox("three segments of no bytes, without an ack", fill(armed_segments(3), b"", transport=0, port=0, ip=(0, 0, 0, 0), nonce=0), b"")
mailbox("64 full segments over the agent's channel", fill(armed_segments(64), sparse(64 * SEGMENT), generation=9, transport=3, port=0, ip=(0, 0, 0, 0)), sparse(64 * SEGMENT))

incomplete("one segment, armed", armed_segments(1))
incomplete("three segments, armed", armed_segments(3))
incomplete("three bodies without a generation", [patched(p, 224, b"\0\0\0\0") for p in filled])
incomplete("a generation in the first of three segments only", with_segment([patched(p, 224, b"\0\0\0\0") for p in filled], 0, filled[0]))
incomplete("a generation in all of three segments but the last", with_segment(filled, 2, patched(filled[2], 224, b"\0\0\0\0")))
incomplete("a delivery whose last segment is still armed", with_segment(filled, 2, armed_segments(3)[2]))

refuse_mailbox("mixed generations", "generation", with_segment(filled, 1, fill(armed_segments(3), three, generation=2)[1]))
refuse_mailbox("mixed totals", "length", with_segment(filled, 1, fill(armed_segments(3), three + b"x")[1]))
refuse_mailbox("a segment with too little", "length", with_segment(filled, 1, delivered(armed_segments(3)[1], 1, three[SEGMENT : 2 * SEGMENT - 1], BYTES_TYPE, 1, 40123, (10, 0, 2, 2), len(three), ACK)))
refuse_mailbox("a segment with too much", "length", with_segment(filled, 2, delivered(armed_segments(3)[2], 1, b"123456", BYTES_TYPE, 1, 40123, (10, 0, 2, 2), len(three), ACK)))
refuse_mailbox("one segment of a total for three", "length", [patched(fill(armed_segments(1), hello)[0], 244, struct.pack("<I", len(three)))])
refuse_mailbox("mixed content types", "content-type", with_segment(filled, 2, fill(armed_segments(3), three, kind=JSON_TYPE)[2]))
refuse_mailbox("mixed ack nonces", "ack", with_segment(filled, 1, fill(armed_segments(3), three, nonce=ACK ^ 1)[1]))
refuse_mailbox("mixed ack transports", "ack", with_segment(filled, 1, fill(armed_segments(3), three, transport=3)[1]))
refuse_mailbox("mixed ack ports", "ack", with_segment(filled, 1, fill(armed_segments(3), three, port=1)[1]))
refuse_mailbox("mixed ack addresses", "ack", with_segment(filled, 2, fill(armed_segments(3), three, ip=(10, 0, 2, 3))[2]))
refuse_mailbox("one flipped bit in the last segment", "checksum", with_segment(filled, 2, patched(filled[2], 260, bytes([filled[2][260] ^ 1]))))
refuse_mailbox("a generation in a segment that was not delivered", "state", with_segment(filled, 1, patched(filled[1], 212, struct.pack("<I", ARMED))))
refuse_mailbox("a segment consumed already", "state", with_segment(filled, 1, patched(filled[1], 212, struct.pack("<I", CONSUMED))))
refuse_mailbox("a segment of another arming", "nonce", with_segment(filled, 1, fill(armed_segments(3, nonce=1), three)[1]))
refuse_mailbox("a first segment of another arming", "nonce", with_segment(filled, 0, fill(armed_segments(3, nonce=1), three)[0]), first=1)
refuse_mailbox("a segment of another mailbox", "name", with_segment(filled, 1, fill(armed_segments(3, name=b"other"), three)[1]))
refuse_mailbox("a segment with another token", "token", with_segment(filled, 1, fill(armed_segments(3, token=b"other"), three)[1]))
refuse_mailbox("segments in another order", "segments", [filled[0], filled[2], filled[1]])
refuse_mailbox("a segment of another number of them", "segments", with_segment(filled, 1, fill(armed_segments(4), three)[1]))
refuse_mailbox("a wiped segment with a generation", "magic", with_segment(filled, 1, patched(bytearray(FRAME), 224, b"\1")))

HEAD = "offshoot-ack v=1 mailbox=task generation=1 nonce=00000000000000ff stage=applied"


def ack(line, mailbox="task", generation=1, nonce=0xFF, stage="applied", detail="", canonical=True):
    """`canonical`: a writer produces exactly this line. The others are only read."""
    return {
        "line": line,
        "canonical": canonical,
        "ack": {"mailbox": mailbox, "generation": generation, "nonce": f"{nonce:016x}", "stage": stage, "detail": detail},
    }


acks = [
    ack(HEAD),
    ack(HEAD.replace("applied", "received"), stage="received"),
    ack(HEAD.replace("applied", "failed") + " detail=no%20route%3A%20100%25", stage="failed", detail="no route: 100%"),
    ack(HEAD + " detail=gr%C3%BC%C3%9Fe-_.~%21%27%28%29%2A%F0%9F%94%91", detail="grüße-_.~!'()*🔑"),
    ack(HEAD + " detail=a%3Db%20stage%3Dfailed", detail="a=b stage=failed"),
    ack(HEAD.replace("=1 n", "=4294967295 n").replace("00000000000000ff", "f" * 16), generation=0xFFFFFFFF, nonce=2**64 - 1),
    ack(HEAD.replace("task", "Az09._:-" * 8), mailbox="Az09._:-" * 8),
    ack(HEAD + " detail=" + "x" * (1200 - len(HEAD) - 8), detail="x" * (1200 - len(HEAD) - 8)),
    ack(HEAD + " detail=", canonical=False),
    ack("offshoot-ack stage=applied nonce=00000000000000ff generation=1 mailbox=task v=1", canonical=False),
]

rejected_acks = []


def refuse_ack(reject, *lines):
    for line in lines:
        raw = line if isinstance(line, bytes) else line.encode()
        rejected_acks.append({"line": raw.decode("latin-1"), "reject": reject})


refuse_ack("too-long", HEAD + " detail=" + "x" * (1201 - len(HEAD) - 8))
refuse_ack("not-ascii", HEAD + "\n", HEAD + "\0", "\t" + HEAD, HEAD.replace("task", "t\x7f"), HEAD + " detail=ü")
refuse_ack("malformed", "", " ", "hello", " " + HEAD, HEAD + " ", HEAD.replace(" v", "  v"), "x" + HEAD, HEAD + " detail")
refuse_ack("malformed", HEAD.replace("offshoot-ack", "offshoot-ack-ok"), HEAD.replace("offshoot", "OFFSHOOT"), HEAD + " =x")
refuse_ack("unknown-key", HEAD + " x=1", HEAD + " Detail=x", HEAD.replace("v=1", "version=1"), HEAD + " constructor=1")
refuse_ack("repeated-key", HEAD + " v=1", HEAD + " detail=a detail=b", HEAD + " stage=failed")
refuse_ack("missing-key", "offshoot-ack", *(" ".join(w for w in HEAD.split(" ") if not w.startswith(k + "=")) for k in ("v", "mailbox", "generation", "nonce", "stage")))
refuse_ack("bad-value", HEAD.replace("v=1", "v=2"), HEAD.replace("v=1", "v="), HEAD.replace("v=1", "v=1.0"))
refuse_ack("bad-value", HEAD.replace("task", ""), HEAD.replace("task", "a/b"), HEAD.replace("task", "a=b"), HEAD.replace("task", "x" * 65))
refuse_ack("bad-value", *(HEAD.replace("=1 n", f"={n} n") for n in ("", "0", "01", "-1", "+1", "1.0", "1e3", "0x1", "4294967296", "99999999999")))
refuse_ack("bad-value", *(HEAD.replace("00000000000000ff", n) for n in ("", "ff", "00000000000000FF", "00000000000000fg", "0" * 15, "0" * 17, "0x000000000000ff")))
refuse_ack("bad-value", *(HEAD.replace("applied", s) for s in ("", "Applied", "applied.", "done", "applied=applied")))
refuse_ack("bad-value", *(HEAD + f" detail={d}" for d in ("%", "%2", "%zz", "%c3%bc", "%FF", "%ED%A0%80", "a=b", "a+b", 'a"b', "a/b")))

ok_line = "offshoot-ack-ok nonce=00000000000000ff"
vectors = {
    "frameSize": FRAME,
    "frames": frames,
    "rejectedFrames": rejected_frames,
    "mailboxes": mailboxes,
    "incompleteMailboxes": incomplete_mailboxes,
    "rejectedMailboxes": rejected_mailboxes,
    "acks": acks,
    "rejectedAcks": rejected_acks,
    "ackOks": [{"line": ok_line, "nonce": "00000000000000ff"}, {"line": ok_line[:-16] + "f" * 16, "nonce": "f" * 16}],
    "rejectedAckOks": ["", ok_line + " ", " " + ok_line, ok_line + "\n", ok_line.upper(), ok_line[:-1], ok_line + "0", ok_line.replace("-ok", ""), ok_line.replace("ff", "fg"), ok_line + " v=1"],
    "tokens": [{"token": t, "sha256": hashlib.sha256(t.encode()).hexdigest()} for t in ("tk", "schlüssel-鍵-🔑", "t" * 128)],
    "crc32": [{"hex": b.hex(), "value": zlib.crc32(b)} for b in (b"", b"\0", b"123456789", hello, bytes(range(256)))],
}
json.dump(vectors, sys.stdout, ensure_ascii=True, indent=2)
sys.stdout.write("\n")
