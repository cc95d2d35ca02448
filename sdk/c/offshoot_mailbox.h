/*
 * offshoot_mailbox.h - mailboxes of Offshoot: data the host puts into this process's memory before a forked VM runs on.
 *
 * A program arms a mailbox and waits; the VM is parked in that wait, and every fork goes on from it with its own payload.
 * C99 or C++ on Linux, no dependency. In one source file, before any system header (or with -D_DEFAULT_SOURCE):
 *
 *     #define OFFSHOOT_MAILBOX_IMPLEMENTATION
 *     #include "offshoot_mailbox.h"
 *
 * An agent that answers on its socket is told of the pages, and says when this fork's own identity is in force; without
 * one everything works by looking at the memory. A mailbox is for one thread at a time.
 */
#ifndef OFFSHOOT_MAILBOX_H
#define OFFSHOOT_MAILBOX_H

#if defined(OFFSHOOT_MAILBOX_IMPLEMENTATION) && !defined(_DEFAULT_SOURCE)
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS, madvise */
#endif

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the functions return. offshoot_reason() has the name of each. */
typedef enum offshoot_result {
  OFFSHOOT_OK = 0,
  OFFSHOOT_NO_ACK = 1,          /* nobody asked for the acknowledgement, or only through an agent that is not there */
  OFFSHOOT_EMPTY = -1,          /* nothing was delivered, or not in time */
  OFFSHOOT_CORRUPT = -2,        /* what stands in the frames is no whole delivery; `problem` is the field that is wrong */
  OFFSHOOT_CONSUMED = -3,       /* the delivery was taken: arm again */
  OFFSHOOT_DISPOSED = -4,       /* not armed, disposed of, or the parent process's */
  OFFSHOOT_BAD_NAME = -5,       /* not 1 to 64 of A-Z a-z 0-9 . _ : - */
  OFFSHOOT_RESERVED_NAME = -6,  /* begins with "offshoot." */
  OFFSHOOT_BAD_TOKEN = -7,      /* not 1 to 128 bytes of UTF-8 */
  OFFSHOOT_BAD_CAPACITY = -8,   /* not 1 to OFFSHOOT_MAX_CAPACITY */
  OFFSHOOT_NAME_TAKEN = -9,     /* the agent holds the name for somebody else */
  OFFSHOOT_UNCONFIRMED = -10,   /* the host did not confirm the acknowledgement in time */
  OFFSHOOT_ACK_TRANSPORT = -11, /* the agent that was to pass the acknowledgement on could not */
  OFFSHOOT_SYSTEM = -12         /* the system refused memory, random bytes or a socket: errno */
} offshoot_result;

typedef enum offshoot_content_type { OFFSHOOT_JSON = 1, OFFSHOOT_BYTES = 2 } offshoot_content_type;
typedef enum offshoot_stage { OFFSHOOT_RECEIVED, OFFSHOOT_APPLIED, OFFSHOOT_FAILED } offshoot_stage;

#define OFFSHOOT_SEGMENT_CAPACITY 3840
#define OFFSHOOT_MAX_SEGMENTS 64
/* Largest payload a mailbox can be armed for, in bytes. */
#define OFFSHOOT_MAX_CAPACITY (OFFSHOOT_MAX_SEGMENTS * OFFSHOOT_SEGMENT_CAPACITY)
#define OFFSHOOT_FOR_EVER (-1)
#define OFFSHOOT_ACK_TIMEOUT_MS 30000

typedef struct offshoot_delivery {
  const unsigned char *payload; /* the mailbox's, until it is armed again or disposed of: both wipe it */
  size_t length;                /* in bytes */
  offshoot_content_type content_type;
  uint32_t generation;
} offshoot_delivery;

typedef struct offshoot_ack_route {
  int transport; /* 0 none, 1 UDP, 2 vsock, 3 guest agent's channel */
  uint16_t port;
  unsigned char address[4]; /* network byte order; 0.0.0.0 is the default gateway */
  uint64_t nonce;           /* the delivery's */
} offshoot_ack_route;

/* A mailbox in this process's own pages. Its fields are the library's; `problem` may be read. */
typedef struct offshoot_mailbox {
  char name[65];
  unsigned char *memory; /* frames, then room for a payload put together; NULL when disposed of */
  size_t segments;
  uint64_t nonce; /* of this arming */
  pid_t owner;
  int is_taken;
  int can_ack;
  offshoot_delivery delivery;
  offshoot_ack_route ack;
  const char *problem; /* of the last OFFSHOOT_CORRUPT, as "checksum" */
  int agent;           /* socket, or -1 */
  unsigned last_id;
  size_t received;
  char answers[4096]; /* of the agent, not parsed yet */
} offshoot_mailbox;

/*
 * Arms a mailbox for payloads of at most `capacity` bytes. `token` NULL: 128 random bits.
 * OFFSHOOT_BAD_NAME, _RESERVED_NAME, _BAD_TOKEN, _BAD_CAPACITY, _NAME_TAKEN, _SYSTEM; then there is nothing to dispose of.
 */
offshoot_result offshoot_arm(offshoot_mailbox *mailbox, const char *name, const char *token, size_t capacity);

/* Wipes what was delivered and arms the same pages with a new nonce. `token` NULL: the one it has. As offshoot_arm. */
offshoot_result offshoot_rearm(offshoot_mailbox *mailbox, const char *token);

/* The token as it stands in the frame, the only place where it is kept: 128 bytes at most and a NUL into `token`. */
offshoot_result offshoot_token(const offshoot_mailbox *mailbox, char token[129]);

/*
 * Blocks until something is delivered, at most so many milliseconds or OFFSHOOT_FOR_EVER. The payload is wiped from the
 * frames; with `keep` the delivery stays in them and can be waited for again.
 * OFFSHOOT_EMPTY, _CORRUPT, _CONSUMED for one that was taken (until the next offshoot_rearm), _DISPOSED.
 */
offshoot_result offshoot_wait(offshoot_mailbox *mailbox, int timeout_ms, int keep, offshoot_delivery *delivery);

/*
 * Tells the host how it went, until it has confirmed that (OFFSHOOT_OK). `detail` is UTF-8 or NULL; one that is too long
 * is cut. OFFSHOOT_NO_ACK, _UNCONFIRMED after so many milliseconds, _EMPTY without a delivery, _ACK_TRANSPORT, _SYSTEM.
 */
offshoot_result offshoot_ack(offshoot_mailbox *mailbox, offshoot_stage stage, const char *detail, int timeout_ms);

/* Wipes token and payload and gives the pages back. Safe to repeat. */
void offshoot_dispose(offshoot_mailbox *mailbox);

/* Stable name of a result, as "MAILBOX_EMPTY": the one the other libraries and the agent give. */
const char *offshoot_reason(offshoot_result result);

#ifdef __cplusplus
}
#endif
#endif /* OFFSHOOT_MAILBOX_H */

#ifdef OFFSHOOT_MAILBOX_IMPLEMENTATION
#undef OFFSHOOT_MAILBOX_IMPLEMENTATION

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef MAP_ANONYMOUS
#error "include offshoot_mailbox.h before any system header, or compile with -D_DEFAULT_SOURCE"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The frame, version 1: docs/mailboxes.md. */
#define OFFSHOOT__FRAME 4096
#define OFFSHOOT__MAGIC "OFFSHOOT-MBOX-1" /* with its NUL */
#define OFFSHOOT__MAGIC_SIZE 16
#define OFFSHOOT__NAME 16
#define OFFSHOOT__NAME_SIZE 64
#define OFFSHOOT__TOKEN 80
#define OFFSHOOT__TOKEN_SIZE 128
#define OFFSHOOT__INDEX 208
#define OFFSHOOT__COUNT 210
#define OFFSHOOT__STATE 212
#define OFFSHOOT__NONCE 216
#define OFFSHOOT__GENERATION 224
#define OFFSHOOT__LENGTH 228
#define OFFSHOOT__CRC 232
#define OFFSHOOT__CONTENT_TYPE 236
#define OFFSHOOT__ACK_TRANSPORT 237
#define OFFSHOOT__ACK_PORT 238
#define OFFSHOOT__ACK_ADDRESS 240
#define OFFSHOOT__TOTAL 244
#define OFFSHOOT__ACK_NONCE 248
#define OFFSHOOT__PAYLOAD 256
enum { OFFSHOOT__ARMED = 1, OFFSHOOT__DELIVERED = 2, OFFSHOOT__WAS_CONSUMED = 3, OFFSHOOT__WAS_DISPOSED = 4 };
enum { OFFSHOOT__ACK_NONE = 0, OFFSHOOT__ACK_UDP = 1, OFFSHOOT__ACK_VSOCK = 2, OFFSHOOT__ACK_CHANNEL = 3 };
#define OFFSHOOT__MAX_ACK 1200

/* Milliseconds. */
#define OFFSHOOT__LOOK_ALONE 20
#define OFFSHOOT__LOOK_BESIDES_AGENT 1000
#define OFFSHOOT__AGENT_GRACE 5000 /* that a delivery may stand before an agent which says nothing of it is taken for hung */
#define OFFSHOOT__AGENT_ANSWER 5000
#define OFFSHOOT__AGENT_ACK_ANSWER 35000 /* it repeats an ack for 30 s itself */
#define OFFSHOOT__LONGEST_WATCH (24 * 3600 * 1000) /* it can be given; without a limit it answers when there is something */
#define OFFSHOOT__FIRST_PAUSE 5
#define OFFSHOOT__MAX_PAUSE 1000

const char *offshoot_reason(offshoot_result result) {
  switch (result) {
    case OFFSHOOT_OK: return "OK";
    case OFFSHOOT_NO_ACK: return "NO_ACK";
    case OFFSHOOT_EMPTY: return "MAILBOX_EMPTY";
    case OFFSHOOT_CORRUPT: return "MAILBOX_FRAME_CORRUPT";
    case OFFSHOOT_CONSUMED: return "MAILBOX_CONSUMED";
    case OFFSHOOT_DISPOSED: return "MAILBOX_DISPOSED";
    case OFFSHOOT_BAD_NAME: return "MAILBOX_NAME_MALFORMED";
    case OFFSHOOT_RESERVED_NAME: return "MAILBOX_NAME_RESERVED";
    case OFFSHOOT_BAD_TOKEN: return "MAILBOX_TOKEN_MALFORMED";
    case OFFSHOOT_BAD_CAPACITY: return "INVALID_FIELD";
    case OFFSHOOT_NAME_TAKEN: return "MAILBOX_NAME_TAKEN";
    case OFFSHOOT_UNCONFIRMED: return "ACK_UNCONFIRMED";
    case OFFSHOOT_ACK_TRANSPORT: return "ACK_TRANSPORT";
    case OFFSHOOT_SYSTEM: return "SYSTEM";
  }
  return "UNKNOWN";
}

/* Bytes. */

static uint64_t offshoot__get(const unsigned char *at, size_t size) {
  uint64_t value = 0;
  while (size-- > 0) value = (value << 8) | at[size];
  return value;
}

static void offshoot__put(unsigned char *at, size_t size, uint64_t value) {
  for (size_t i = 0; i < size; i++, value >>= 8) at[i] = (unsigned char)(value & 0xff);
}

/* For what the compiler sees no more use of, and would not clear by itself. */
static void offshoot__wipe(void *bytes, size_t size) {
  volatile unsigned char *at = (volatile unsigned char *)bytes;
  while (size-- > 0) *at++ = 0;
}

/* CRC-32 as zlib computes it (polynomial 0xEDB88320), four bits at a time. */
static uint32_t offshoot__crc32(const unsigned char *bytes, size_t size) {
  static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                     0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                     0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
  uint32_t crc = 0xffffffffu;
  for (size_t i = 0; i < size; i++) {
    crc ^= bytes[i];
    crc = table[crc & 15] ^ (crc >> 4);
    crc = table[crc & 15] ^ (crc >> 4);
  }
  return crc ^ 0xffffffffu;
}

/* Bytes of the UTF-8 character at the beginning; 0 when there is none (RFC 3629, table 3-7 of Unicode). */
static size_t offshoot__utf8(const unsigned char *text, size_t size) {
  unsigned char low = 0x80, high = 0xbf;
  size_t length = text[0] < 0x80 ? 1 : text[0] < 0xc2 ? 0 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : text[0] < 0xf5 ? 4 : 0;
  if (length > size) return 0;
  if (text[0] == 0xe0) low = 0xa0;
  if (text[0] == 0xed) high = 0x9f; /* no surrogates */
  if (text[0] == 0xf0) low = 0x90;
  if (text[0] == 0xf4) high = 0x8f; /* up to U+10FFFF */
  for (size_t i = 1; i < length; i++, low = 0x80, high = 0xbf)
    if (text[i] < low || text[i] > high) return 0;
  return length;
}

static int offshoot__is_utf8(const unsigned char *text, size_t size) {
  for (size_t at = 0, length; at < size; at += length)
    if ((length = offshoot__utf8(text + at, size - at)) == 0) return 0;
  return 1;
}

static int offshoot__is_name(const char *name, size_t length) {
  static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-";
  if (length < 1 || length > OFFSHOOT__NAME_SIZE) return 0;
  for (size_t i = 0; i < length; i++)
    if (name[i] == 0 || strchr(allowed, name[i]) == NULL) return 0;
  return 1;
}

static int offshoot__random(unsigned char *bytes, size_t size) {
  int file = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  size_t done = 0;
  if (file < 0) return -1;
  while (done < size) {
    ssize_t got = read(file, bytes + done, size - done);
    if (got > 0) done += (size_t)got;
    else if (got == 0 || errno != EINTR) break;
  }
  close(file);
  return done == size ? 0 : -1;
}

static int64_t offshoot__now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Whether there is something to read within the milliseconds. Signals do not cut it short. */
static int offshoot__readable(int file, int64_t timeout_ms) {
  int64_t until = offshoot__now() + timeout_ms;
  for (;;) {
    int64_t left = until - offshoot__now();
    struct pollfd wanted;
    int ready;
    wanted.fd = file; /* -1: only the time passes */
    wanted.events = POLLIN;
    wanted.revents = 0;
    ready = poll(&wanted, 1, left < 0 ? 0 : (int)left);
    if (ready > 0) return 1;
    if (ready == 0 || errno != EINTR) return 0;
  }
}

/* Frames. */

typedef struct offshoot__header {
  char name[OFFSHOOT__NAME_SIZE + 1];
  size_t index, count;
  uint32_t state, generation;
  uint64_t nonce;
} offshoot__header;

typedef struct offshoot__segment {
  uint32_t generation;
  offshoot_content_type content_type;
  const unsigned char *payload;
  size_t length, total;
  offshoot_ack_route ack;
} offshoot__segment;

static unsigned char *offshoot__page(const offshoot_mailbox *mailbox, size_t index) {
  return mailbox->memory + index * OFFSHOOT__FRAME;
}

static unsigned char *offshoot__assembled(const offshoot_mailbox *mailbox) {
  return offshoot__page(mailbox, mailbox->segments);
}

static size_t offshoot__memory_size(size_t segments) { return 2 * segments * OFFSHOOT__FRAME; }

/* Wipes a frame and writes its marker, magic and state last: before them it is no frame. */
static void offshoot__arm_frame(unsigned char *page, const char *name, const char *token, size_t index, size_t count,
                                uint64_t nonce) {
  memset(page, 0, OFFSHOOT__FRAME);
  memcpy(page + OFFSHOOT__NAME, name, strlen(name));
  memcpy(page + OFFSHOOT__TOKEN, token, strlen(token));
  offshoot__put(page + OFFSHOOT__INDEX, 2, index);
  offshoot__put(page + OFFSHOOT__COUNT, 2, count);
  offshoot__put(page + OFFSHOOT__NONCE, 8, nonce);
  memcpy(page, OFFSHOOT__MAGIC, OFFSHOOT__MAGIC_SIZE);
  offshoot__put(page + OFFSHOOT__STATE, 4, OFFSHOOT__ARMED);
}

/* Marks the delivery as taken out and leaves nothing of its payload. */
static void offshoot__consume_frame(unsigned char *page) {
  offshoot__put(page + OFFSHOOT__STATE, 4, OFFSHOOT__WAS_CONSUMED);
  memset(page + OFFSHOOT__PAYLOAD, 0, OFFSHOOT_SEGMENT_CAPACITY);
}

/* Written by the host behind the compiler's back. */
static uint32_t offshoot__generation(const unsigned char *page) {
  const volatile unsigned char *at = page + OFFSHOOT__GENERATION;
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static int offshoot__is_complete(const offshoot_mailbox *mailbox) {
  for (size_t i = 0; i < mailbox->segments; i++)
    if (offshoot__generation(offshoot__page(mailbox, i)) == 0) return 0;
  return 1;
}

/* Length of a NUL-padded field's text; -1 when anything but NULs follows the first NUL. */
static int offshoot__padded(const unsigned char *field, size_t size) {
  size_t length = 0, at;
  while (length < size && field[length] != 0) length++;
  for (at = length; at < size; at++)
    if (field[at] != 0) return -1;
  return (int)length;
}

/* What is wrong with the header; NULL when it is whole. */
static const char *offshoot__read_header(const unsigned char *page, offshoot__header *header) {
  int name_length = offshoot__padded(page + OFFSHOOT__NAME, OFFSHOOT__NAME_SIZE);
  int token_length = offshoot__padded(page + OFFSHOOT__TOKEN, OFFSHOOT__TOKEN_SIZE);
  if (memcmp(page, OFFSHOOT__MAGIC, OFFSHOOT__MAGIC_SIZE) != 0) return "magic";
  if (name_length < 1 || !offshoot__is_name((const char *)page + OFFSHOOT__NAME, (size_t)name_length)) return "name";
  if (token_length < 1 || !offshoot__is_utf8(page + OFFSHOOT__TOKEN, (size_t)token_length)) return "token";
  memcpy(header->name, page + OFFSHOOT__NAME, (size_t)name_length);
  header->name[name_length] = 0;
  header->index = (size_t)offshoot__get(page + OFFSHOOT__INDEX, 2);
  header->count = (size_t)offshoot__get(page + OFFSHOOT__COUNT, 2);
  if (header->count > OFFSHOOT_MAX_SEGMENTS || header->index >= header->count) return "segments";
  header->state = (uint32_t)offshoot__get(page + OFFSHOOT__STATE, 4);
  if (header->state < OFFSHOOT__ARMED || header->state > OFFSHOOT__WAS_DISPOSED) return "state";
  header->nonce = offshoot__get(page + OFFSHOOT__NONCE, 8);
  header->generation = offshoot__generation(page);
  if (header->state == OFFSHOOT__ARMED && header->generation == 0xffffffffu) return "generation";
  return NULL;
}

/* What is wrong with what was delivered into one frame; NULL when nothing is. */
static const char *offshoot__read_segment(const unsigned char *page, offshoot__segment *segment) {
  size_t count = (size_t)offshoot__get(page + OFFSHOOT__COUNT, 2);
  segment->generation = offshoot__generation(page);
  if (segment->generation == 0) return "generation";
  segment->payload = page + OFFSHOOT__PAYLOAD;
  segment->length = (size_t)offshoot__get(page + OFFSHOOT__LENGTH, 4);
  if (segment->length > OFFSHOOT_SEGMENT_CAPACITY) return "length";
  if (count < 1 || count > OFFSHOOT_MAX_SEGMENTS) return "segments";
  segment->total = (size_t)offshoot__get(page + OFFSHOOT__TOTAL, 4);
  if (segment->total < segment->length || segment->total > segment->length + OFFSHOOT_SEGMENT_CAPACITY * (count - 1))
    return "length";
  if (offshoot__crc32(segment->payload, segment->length) != offshoot__get(page + OFFSHOOT__CRC, 4)) return "checksum";
  if (page[OFFSHOOT__CONTENT_TYPE] != OFFSHOOT_JSON && page[OFFSHOOT__CONTENT_TYPE] != OFFSHOOT_BYTES)
    return "content-type";
  segment->content_type = (offshoot_content_type)page[OFFSHOOT__CONTENT_TYPE];
  if (page[OFFSHOOT__ACK_TRANSPORT] > OFFSHOOT__ACK_CHANNEL) return "ack";
  segment->ack.transport = page[OFFSHOOT__ACK_TRANSPORT];
  segment->ack.port = (uint16_t)offshoot__get(page + OFFSHOOT__ACK_PORT, 2);
  memcpy(segment->ack.address, page + OFFSHOOT__ACK_ADDRESS, 4);
  segment->ack.nonce = offshoot__get(page + OFFSHOOT__ACK_NONCE, 8);
  return NULL;
}

static int offshoot__same_ack(const offshoot_ack_route *one, const offshoot_ack_route *other) {
  return one->transport == other->transport && one->port == other->port && one->nonce == other->nonce &&
         memcmp(one->address, other->address, 4) == 0;
}

/* Puts what was delivered over all frames together. What is wrong with it; NULL when it is one whole delivery. */
static const char *offshoot__read_mailbox(offshoot_mailbox *mailbox) {
  unsigned char *payload = offshoot__assembled(mailbox);
  offshoot__segment first = {0, OFFSHOOT_BYTES, NULL, 0, 0, {0, 0, {0, 0, 0, 0}, 0}};
  size_t length = 0, i;
  for (i = 0; i < mailbox->segments; i++) {
    const unsigned char *page = offshoot__page(mailbox, i);
    offshoot__header header;
    offshoot__segment segment;
    const char *problem = offshoot__read_header(page, &header);
    if (problem != NULL) return problem;
    if (strcmp(header.name, mailbox->name) != 0) return "name";
    if (memcmp(page + OFFSHOOT__TOKEN, mailbox->memory + OFFSHOOT__TOKEN, OFFSHOOT__TOKEN_SIZE) != 0) return "token";
    if (header.nonce != mailbox->nonce) return "nonce";
    if (header.state != OFFSHOOT__DELIVERED) return "state";
    if (header.index != i || header.count != mailbox->segments) return "segments";
    if ((problem = offshoot__read_segment(page, &segment)) != NULL) return problem;
    if (i == 0) first = segment;
    if (segment.generation != first.generation) return "generation";
    if (segment.total != first.total) return "length";
    if (segment.content_type != first.content_type) return "content-type";
    if (!offshoot__same_ack(&segment.ack, &first.ack)) return "ack";
    memcpy(payload + length, segment.payload, segment.length);
    length += segment.length;
  }
  if (length != first.total) return "length";
  mailbox->delivery.payload = payload;
  mailbox->delivery.length = length;
  mailbox->delivery.content_type = first.content_type;
  mailbox->delivery.generation = first.generation;
  mailbox->ack = first.ack;
  return NULL;
}

/* Acknowledgement lines. */

/* The line for an ack, with its NUL. A detail that would make it too long is cut at a character. Returns its length. */
static size_t offshoot__format_ack(char line[OFFSHOOT__MAX_ACK + 1], const char *mailbox, uint32_t generation,
                                   uint64_t nonce, offshoot_stage stage, const char *detail) {
  static const char *const stages[] = {"received", "applied", "failed"};
  static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~";
  const unsigned char *text = (const unsigned char *)(detail == NULL ? "" : detail);
  size_t left = strlen((const char *)text);
  size_t length = (size_t)snprintf(line, OFFSHOOT__MAX_ACK + 1,
                                   "offshoot-ack v=1 mailbox=%s generation=%lu nonce=%016llx stage=%s%s", mailbox,
                                   (unsigned long)generation, (unsigned long long)nonce, stages[stage],
                                   left == 0 ? "" : " detail=");
  while (left > 0) {
    size_t size = offshoot__utf8(text, left);
    const unsigned char *character = size == 0 ? (const unsigned char *)"\xef\xbf\xbd" : text; /* U+FFFD for no character */
    size_t bytes = size == 0 ? 3 : size;
    int plain = bytes == 1 && strchr(unreserved, character[0]) != NULL;
    if (length + (plain ? 1 : 3 * bytes) > OFFSHOOT__MAX_ACK) break;
    if (plain) line[length++] = (char)character[0];
    else
      for (size_t i = 0; i < bytes; i++) length += (size_t)snprintf(line + length, 4, "%%%02X", character[i]);
    text += size == 0 ? 1 : size;
    left -= size == 0 ? 1 : size;
  }
  line[length] = 0;
  return length;
}

/* Whether the datagram is the host's `offshoot-ack-ok` line; its nonce. */
static int offshoot__parse_ack_ok(const char *datagram, size_t length, uint64_t *nonce) {
  static const char prefix[] = "offshoot-ack-ok nonce=";
  static const char digits[] = "0123456789abcdef";
  if (length != sizeof prefix - 1 + 16 || memcmp(datagram, prefix, sizeof prefix - 1) != 0) return 0;
  *nonce = 0;
  for (size_t i = sizeof prefix - 1; i < length; i++) {
    const char *digit = datagram[i] == 0 ? NULL : strchr(digits, datagram[i]);
    if (digit == NULL) return 0;
    *nonce = *nonce << 4 | (uint64_t)(digit - digits);
  }
  return 1;
}

/* IPv4 gateway of the default route as the kernel has it (columns of /proc/net/route); whether there is one. */
static int offshoot__default_gateway(struct in_addr *address) {
  char line[256];
  int found = 0;
  FILE *routes = fopen("/proc/net/route", "re");
  if (routes == NULL) return 0;
  while (!found && fgets(line, sizeof line, routes) != NULL) {
    unsigned long destination, gateway, mask;
    if (sscanf(line, "%*s %8lx %8lx %*x %*d %*d %*d %8lx", &destination, &gateway, &mask) != 3) continue;
    if (destination != 0 || mask != 0 || gateway == 0) continue;
    address->s_addr = (in_addr_t)gateway; /* printed as the number it is in memory */
    found = 1;
  }
  fclose(routes);
  return found;
}

static int offshoot__hears_confirmation(int sender, uint64_t nonce, int64_t until) {
  for (;;) {
    char datagram[256];
    uint64_t confirmed;
    int64_t left = until - offshoot__now();
    ssize_t length;
    if (left <= 0 || !offshoot__readable(sender, left)) return 0;
    length = recv(sender, datagram, sizeof datagram, MSG_DONTWAIT);
    if (length > 0 && offshoot__parse_ack_ok(datagram, (size_t)length, &confirmed) && confirmed == nonce) return 1;
  }
}

/* Repeats the datagram: one sent right after an address change is lost without an error, and the first often is. */
static offshoot_result offshoot__send_until_confirmed(const char *line, size_t length, const offshoot_ack_route *route,
                                                      int timeout_ms) {
  static const unsigned char gateway[4] = {0, 0, 0, 0};
  int64_t deadline = offshoot__now() + timeout_ms;
  int64_t pause = OFFSHOOT__FIRST_PAUSE;
  offshoot_result result = OFFSHOOT_UNCONFIRMED;
  int sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (sender < 0) return OFFSHOOT_SYSTEM;
  while (result != OFFSHOOT_OK && offshoot__now() < deadline) {
    struct sockaddr_in to;
    int known = 1;
    int64_t until;
    memset(&to, 0, sizeof to);
    to.sin_family = AF_INET;
    to.sin_port = htons(route->port);
    memcpy(&to.sin_addr, route->address, 4);
    /* Looked up each time: the route may come with the fork's identity, which is not in force yet. */
    if (memcmp(route->address, gateway, 4) == 0) known = offshoot__default_gateway(&to.sin_addr);
    if (known && sendto(sender, line, length, MSG_DONTWAIT, (const struct sockaddr *)&to, sizeof to) < 0)
      errno = 0; /* a datagram lost */
    until = offshoot__now() + pause;
    if (offshoot__hears_confirmation(sender, route->nonce, until < deadline ? until : deadline)) result = OFFSHOOT_OK;
    pause = 2 * pause < OFFSHOOT__MAX_PAUSE ? 2 * pause : OFFSHOOT__MAX_PAUSE;
  }
  close(sender);
  return result;
}

/* The guest agent: a JSON object a line each way. */

/* Behind a JSON value; NULL when there is none. Looks at the form as far as it takes to find the value's end. */
static const char *offshoot__json_end(const char *at) {
  int depth = 0;
  do {
    at += strspn(at, " \t");
    if (*at == '"') {
      for (at++; *at != '"'; at++)
        if (*at == 0 || (*at == '\\' && *++at == 0)) return NULL;
      at++;
    } else if (*at == '{' || *at == '[') {
      depth++;
      at++;
    } else if (*at == '}' || *at == ']') {
      depth--;
      at++;
    } else {
      size_t length = strcspn(at, " \t,:{}[]\"");
      at += length > 0 ? length : *at == ',' || *at == ':';
      if (*at == 0) return depth == 0 ? at : NULL;
    }
  } while (depth > 0);
  return depth == 0 ? at : NULL;
}

/* The value of an object's member; NULL when it has none, or is no object. Keys with escapes in them match nothing. */
static const char *offshoot__json_member(const char *object, const char *key) {
  size_t length = strlen(key);
  if (object == NULL || *object != '{') return NULL;
  for (const char *at = object + 1; at != NULL && *at != 0; at++) {
    const char *name;
    at += strspn(at, " \t");
    if (*at != '"') return NULL;
    name = at + 1;
    if ((at = offshoot__json_end(at)) == NULL) return NULL;
    at += strspn(at, " \t");
    if (*at != ':') return NULL;
    at++;
    at += strspn(at, " \t");
    if (strncmp(name, key, length) == 0 && name[length] == '"') return at;
    if ((at = offshoot__json_end(at)) == NULL) return NULL;
    at += strspn(at, " \t");
    if (*at != ',') return NULL;
  }
  return NULL;
}

static int offshoot__json_is(const char *value, const char *literal) {
  size_t length = strlen(literal);
  return value != NULL && strncmp(value, literal, length) == 0 && strchr(",} \t", value[length]) != NULL;
}

typedef enum { OFFSHOOT__YES, OFFSHOOT__NO, OFFSHOOT__LATER, OFFSHOOT__GONE } offshoot__word;

/* What the agent said: yes or no with a reason, nothing in time, or nothing that can be understood. */
typedef struct offshoot__answer {
  offshoot__word word;
  int confirmed;
  char reason[64];
} offshoot__answer;

static void offshoot__hang_up(offshoot_mailbox *mailbox) {
  if (mailbox->agent >= 0) close(mailbox->agent);
  mailbox->agent = -1;
  mailbox->received = 0;
}

/* Where no agent listens, `agent` stays -1. */
static void offshoot__call_agent(offshoot_mailbox *mailbox) {
  const char *path = getenv("OFFSHOOT_GUEST_SOCKET");
  struct sockaddr_un address;
  if (path == NULL || *path == 0) path = "/run/offshoot/guest.sock";
  if (mailbox->agent >= 0 || strlen(path) >= sizeof address.sun_path) return;
  memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path, strlen(path));
  mailbox->agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (mailbox->agent >= 0 && connect(mailbox->agent, (const struct sockaddr *)&address, sizeof address) != 0)
    offshoot__hang_up(mailbox);
}

/* Sends the fields of a request. Returns the id of its answer; 0 when the agent is gone. */
static unsigned offshoot__send(offshoot_mailbox *mailbox, const char *fields) {
  char line[4096];
  unsigned id = ++mailbox->last_id;
  int length = snprintf(line, sizeof line, "{\"id\":%u,%s}\n", id, fields);
  for (int sent = 0; sent < length;) {
    ssize_t more = send(mailbox->agent, line + sent, (size_t)(length - sent), MSG_NOSIGNAL);
    if (more < 0 && errno != EINTR) {
      offshoot__hang_up(mailbox);
      return 0;
    }
    sent += more < 0 ? 0 : (int)more;
  }
  return id;
}

/* Parses one line. Returns whether it answers the request. */
static int offshoot__parse_answer(const char *line, unsigned id, offshoot__answer *answer) {
  char number[16];
  const char *ok = offshoot__json_member(line, "ok");
  const char *reason = offshoot__json_member(offshoot__json_member(line, "error"), "reason");
  snprintf(number, sizeof number, "%u", id);
  if (!offshoot__json_is(offshoot__json_member(line, "id"), number)) return 0;
  answer->word = offshoot__json_is(ok, "true") ? OFFSHOOT__YES : OFFSHOOT__NO;
  answer->confirmed = offshoot__json_is(offshoot__json_member(line, "confirmed"), "true");
  answer->reason[0] = 0;
  if (reason != NULL && *reason == '"') {
    size_t length = strcspn(reason + 1, "\"");
    if (length < sizeof answer->reason) {
      memcpy(answer->reason, reason + 1, length);
      answer->reason[length] = 0;
    }
  }
  return 1;
}

/* The answer to a request, when it comes in time; those nobody waits for any more are dropped. Hangs up a lost agent. */
static offshoot__answer offshoot__answer_to(offshoot_mailbox *mailbox, unsigned id, int64_t timeout_ms) {
  offshoot__answer answer = {OFFSHOOT__GONE, 0, ""};
  int64_t deadline = offshoot__now() + timeout_ms;
  while (mailbox->agent >= 0 && id != 0) {
    char *newline = (char *)memchr(mailbox->answers, '\n', mailbox->received);
    int64_t left = deadline - offshoot__now();
    ssize_t more;
    if (newline != NULL) {
      size_t used = (size_t)(newline - mailbox->answers) + 1;
      int mine;
      *newline = 0;
      mine = offshoot__parse_answer(mailbox->answers, id, &answer);
      mailbox->received -= used;
      memmove(mailbox->answers, mailbox->answers + used, mailbox->received);
      if (mine) return answer;
      continue;
    }
    if (!offshoot__readable(mailbox->agent, left < 0 ? 0 : left)) {
      answer.word = OFFSHOOT__LATER;
      return answer;
    }
    more = recv(mailbox->agent, mailbox->answers + mailbox->received, sizeof mailbox->answers - mailbox->received, 0);
    if (more > 0) mailbox->received += (size_t)more;
    else if (more == 0 || errno != EINTR) break; /* closed, or a line longer than any the agent has to say */
  }
  offshoot__hang_up(mailbox);
  return answer;
}

/* Tells the agent where the frames are. One that is too old, cannot see them or does not answer is done without. */
static offshoot_result offshoot__attach(offshoot_mailbox *mailbox) {
  char fields[4096];
  offshoot__answer answer;
  size_t length;
  offshoot__call_agent(mailbox);
  if (mailbox->agent < 0) return OFFSHOOT_OK;
  length = (size_t)snprintf(fields, sizeof fields, "\"op\":\"attach\",\"name\":\"%s\",\"pid\":%ld,\"addresses\":[",
                            mailbox->name, (long)mailbox->owner);
  for (size_t i = 0; i < mailbox->segments; i++)
    length += (size_t)snprintf(fields + length, sizeof fields - length, "%s\"%llx\"", i == 0 ? "" : ",",
                               (unsigned long long)(uintptr_t)offshoot__page(mailbox, i));
  snprintf(fields + length, sizeof fields - length, "]");
  answer = offshoot__answer_to(mailbox, offshoot__send(mailbox, fields), OFFSHOOT__AGENT_ANSWER);
  if (answer.word == OFFSHOOT__YES) return OFFSHOOT_OK;
  offshoot__hang_up(mailbox);
  return strcmp(answer.reason, "MAILBOX_NAME_TAKEN") == 0 ? OFFSHOOT_NAME_TAKEN : OFFSHOOT_OK;
}

/* Waited for: the name can be armed again by somebody else as soon as this returns. */
static void offshoot__detach(offshoot_mailbox *mailbox) {
  char fields[128];
  snprintf(fields, sizeof fields, "\"op\":\"detach\",\"name\":\"%s\"", mailbox->name);
  if (mailbox->agent >= 0) offshoot__answer_to(mailbox, offshoot__send(mailbox, fields), OFFSHOOT__AGENT_ANSWER);
}

static unsigned offshoot__watch(offshoot_mailbox *mailbox, int timeout_ms) {
  char fields[160];
  char limit[32] = "";
  if (timeout_ms >= 0 && timeout_ms <= OFFSHOOT__LONGEST_WATCH) snprintf(limit, sizeof limit, ",\"timeoutMs\":%d", timeout_ms);
  snprintf(fields, sizeof fields, "\"op\":\"watch\",\"name\":\"%s\"%s", mailbox->name, limit);
  return mailbox->agent < 0 ? 0 : offshoot__send(mailbox, fields);
}

static offshoot_result offshoot__ack_through_agent(offshoot_mailbox *mailbox, const char *line, int timeout_ms) {
  char fields[OFFSHOOT__MAX_ACK + 64];
  offshoot__answer answer;
  int patience = timeout_ms < OFFSHOOT__AGENT_ACK_ANSWER ? timeout_ms : OFFSHOOT__AGENT_ACK_ANSWER;
  if (mailbox->agent < 0) return OFFSHOOT_NO_ACK;
  /* Nothing in the line needs an escape: it is percent-encoded. */
  snprintf(fields, sizeof fields, "\"op\":\"send-ack\",\"line\":\"%s\"", line);
  answer = offshoot__answer_to(mailbox, offshoot__send(mailbox, fields), patience);
  if (answer.word == OFFSHOOT__YES) return answer.confirmed ? OFFSHOOT_OK : OFFSHOOT_NO_ACK;
  if (answer.word == OFFSHOOT__GONE) return OFFSHOOT_NO_ACK;
  return answer.word == OFFSHOOT__LATER || strcmp(answer.reason, "ACK_UNCONFIRMED") == 0 ? OFFSHOOT_UNCONFIRMED
                                                                                        : OFFSHOOT_ACK_TRANSPORT;
}

/* The four calls. */

static int offshoot__is_own(const offshoot_mailbox *mailbox) {
  return mailbox->memory != NULL && mailbox->owner == getpid();
}

static offshoot_result offshoot__arm_all(offshoot_mailbox *mailbox, const char *token) {
  unsigned char nonce[8];
  if (offshoot__random(nonce, sizeof nonce) != 0) return OFFSHOOT_SYSTEM;
  mailbox->nonce = offshoot__get(nonce, sizeof nonce);
  mailbox->is_taken = 0;
  mailbox->can_ack = 0;
  memset(offshoot__assembled(mailbox), 0, mailbox->segments * OFFSHOOT__FRAME); /* what was delivered before */
  for (size_t i = 0; i < mailbox->segments; i++)
    offshoot__arm_frame(offshoot__page(mailbox, i), mailbox->name, token, i, mailbox->segments, mailbox->nonce);
  return offshoot__attach(mailbox);
}

static offshoot_result offshoot__check_token(const char *token) {
  size_t length = strlen(token);
  int fits = length >= 1 && length <= OFFSHOOT__TOKEN_SIZE && offshoot__is_utf8((const unsigned char *)token, length);
  return fits ? OFFSHOOT_OK : OFFSHOOT_BAD_TOKEN;
}

offshoot_result offshoot_arm(offshoot_mailbox *mailbox, const char *name, const char *token, size_t capacity) {
  char own_token[33] = "";
  unsigned char bits[16];
  void *memory;
  offshoot_result result;
  memset(mailbox, 0, sizeof *mailbox);
  mailbox->agent = -1;
  if (!offshoot__is_name(name, strlen(name))) return OFFSHOOT_BAD_NAME;
  if (strncmp(name, "offshoot.", 9) == 0) return OFFSHOOT_RESERVED_NAME;
  if (capacity < 1 || capacity > OFFSHOOT_MAX_CAPACITY) return OFFSHOOT_BAD_CAPACITY;
  if (token != NULL && offshoot__check_token(token) != OFFSHOOT_OK) return OFFSHOOT_BAD_TOKEN;
  memcpy(mailbox->name, name, strlen(name));
  mailbox->owner = getpid();
  mailbox->segments = (capacity + OFFSHOOT_SEGMENT_CAPACITY - 1) / OFFSHOOT_SEGMENT_CAPACITY;
  memory = mmap(NULL, offshoot__memory_size(mailbox->segments), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return OFFSHOOT_SYSTEM;
  mailbox->memory = (unsigned char *)memory;
  /* A child's copy would make the mailbox ambiguous, and a frame that is swapped out is not in the VM's memory. */
  madvise(memory, offshoot__memory_size(mailbox->segments), MADV_DONTFORK);
  if (mlock(memory, mailbox->segments * OFFSHOOT__FRAME) != 0) errno = 0; /* without the right to: as well as it goes */
  if (offshoot__random(bits, sizeof bits) != 0) {
    offshoot_dispose(mailbox);
    return OFFSHOOT_SYSTEM;
  }
  for (size_t i = 0; i < sizeof bits; i++) snprintf(own_token + 2 * i, 3, "%02x", bits[i]);
  result = offshoot__arm_all(mailbox, token == NULL ? own_token : token);
  offshoot__wipe(own_token, sizeof own_token);
  offshoot__wipe(bits, sizeof bits);
  if (result != OFFSHOOT_OK) offshoot_dispose(mailbox);
  return result;
}

offshoot_result offshoot_rearm(offshoot_mailbox *mailbox, const char *token) {
  char kept[OFFSHOOT__TOKEN_SIZE + 1];
  offshoot_result result = offshoot_token(mailbox, kept);
  if (result == OFFSHOOT_OK && token != NULL) result = offshoot__check_token(token);
  if (result == OFFSHOOT_OK) result = offshoot__arm_all(mailbox, token == NULL ? kept : token);
  offshoot__wipe(kept, sizeof kept);
  return result;
}

offshoot_result offshoot_token(const offshoot_mailbox *mailbox, char token[129]) {
  token[0] = 0;
  if (!offshoot__is_own(mailbox)) return OFFSHOOT_DISPOSED;
  memcpy(token, mailbox->memory + OFFSHOOT__TOKEN, OFFSHOOT__TOKEN_SIZE);
  token[OFFSHOOT__TOKEN_SIZE] = 0;
  return OFFSHOOT_OK;
}

/* OFFSHOOT_OK when every frame has its generation, and the agent, where there is one, has said that it counts. */
static offshoot_result offshoot__await_delivery(offshoot_mailbox *mailbox, int timeout_ms) {
  int64_t deadline = offshoot__now() + timeout_ms;
  int64_t stands_since = -1;
  unsigned watch = offshoot__watch(mailbox, timeout_ms);
  for (;;) {
    int64_t now = offshoot__now();
    int64_t pause = mailbox->agent < 0 ? OFFSHOOT__LOOK_ALONE : OFFSHOOT__LOOK_BESIDES_AGENT;
    if (offshoot__is_complete(mailbox)) {
      if (stands_since < 0) stands_since = now;
      if (mailbox->agent < 0 || now - stands_since >= OFFSHOOT__AGENT_GRACE) {
        offshoot__hang_up(mailbox);
        return OFFSHOOT_OK;
      }
    }
    if (timeout_ms >= 0 && now >= deadline) return OFFSHOOT_EMPTY;
    if (timeout_ms >= 0 && deadline - now < pause) pause = deadline - now;
    if (mailbox->agent < 0) {
      offshoot__readable(-1, pause);
    } else {
      offshoot__answer answer = offshoot__answer_to(mailbox, watch, pause);
      if (answer.word == OFFSHOOT__YES && offshoot__is_complete(mailbox)) return OFFSHOOT_OK;
      if (answer.word == OFFSHOOT__NO && strcmp(answer.reason, "MAILBOX_EMPTY") != 0) offshoot__hang_up(mailbox);
    }
  }
}

offshoot_result offshoot_wait(offshoot_mailbox *mailbox, int timeout_ms, int keep, offshoot_delivery *delivery) {
  offshoot_result waited;
  memset(delivery, 0, sizeof *delivery);
  if (!offshoot__is_own(mailbox)) return OFFSHOOT_DISPOSED;
  if (mailbox->is_taken) return OFFSHOOT_CONSUMED;
  waited = offshoot__await_delivery(mailbox, timeout_ms);
  if (waited != OFFSHOOT_OK) return waited;
  mailbox->problem = offshoot__read_mailbox(mailbox);
  mailbox->can_ack = mailbox->problem == NULL;
  mailbox->is_taken = !keep || mailbox->problem != NULL;
  for (size_t i = 0; mailbox->is_taken && i < mailbox->segments; i++) offshoot__consume_frame(offshoot__page(mailbox, i));
  if (mailbox->problem != NULL) return OFFSHOOT_CORRUPT;
  *delivery = mailbox->delivery;
  return OFFSHOOT_OK;
}

offshoot_result offshoot_ack(offshoot_mailbox *mailbox, offshoot_stage stage, const char *detail, int timeout_ms) {
  char line[OFFSHOOT__MAX_ACK + 1];
  size_t length;
  if (!offshoot__is_own(mailbox)) return OFFSHOOT_DISPOSED;
  if (!mailbox->can_ack) return OFFSHOOT_EMPTY;
  length = offshoot__format_ack(line, mailbox->name, mailbox->delivery.generation, mailbox->ack.nonce, stage, detail);
  switch (mailbox->ack.transport) {
    case OFFSHOOT__ACK_NONE: return OFFSHOOT_NO_ACK;
    case OFFSHOOT__ACK_UDP: return offshoot__send_until_confirmed(line, length, &mailbox->ack, timeout_ms);
    default: return offshoot__ack_through_agent(mailbox, line, timeout_ms); /* its channel, or vsock */
  }
}

void offshoot_dispose(offshoot_mailbox *mailbox) {
  /* A child of the process that armed it has no such pages: there only the socket is given back. */
  int is_own = offshoot__is_own(mailbox);
  if (mailbox->memory != NULL) {
    if (is_own) offshoot__detach(mailbox);
    offshoot__hang_up(mailbox);
  }
  if (is_own) {
    memset(mailbox->memory, 0, offshoot__memory_size(mailbox->segments));
    munmap(mailbox->memory, offshoot__memory_size(mailbox->segments));
  }
  mailbox->memory = NULL;
  mailbox->can_ack = 0;
}

#ifdef __cplusplus
}
#endif
#endif /* OFFSHOOT_MAILBOX_IMPLEMENTATION */
