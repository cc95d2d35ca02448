/* The C library under the conformance suite: a request a line, an answer a line (sdk/conformance/library.ts). */
#define _DEFAULT_SOURCE
#include <stdlib.h>
#include <sys/mman.h>

/* Nobody can look at pages that were given back: that they were wiped is seen right before. */
static int unmap_wiped(void *memory, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (((const unsigned char *)memory)[i] != 0) abort();
  return munmap(memory, size);
}

#define munmap unmap_wiped
#define OFFSHOOT_MAILBOX_IMPLEMENTATION
#include "offshoot_mailbox.h"

static const char *const transports[] = {"none", "udp", "vsock", "channel"};
static const char *const states[] = {"", "armed", "delivered", "consumed", "disposed"};
static const char *const content_types[] = {"", "json", "bytes"};

static char *request; /* what is left of the line */

static const char *field(void) {
  char *start = request;
  request += strcspn(request, " ");
  if (*request != 0) *request++ = 0;
  return start;
}

static unsigned long number(void) { return strtoul(field(), NULL, 10); }
static uint64_t nonce(void) { return strtoull(field(), NULL, 16); }

/* Bytes of a field of hex digits, with a NUL behind them; the caller frees them. "-" is none. */
static unsigned char *bytes(size_t *size) {
  const char *hex = field();
  size_t length = strcmp(hex, "-") == 0 ? 0 : strlen(hex) / 2;
  unsigned char *out = (unsigned char *)calloc(length + 1, 1);
  if (out == NULL) abort();
  for (size_t i = 0; i < length; i++) {
    char digits[3] = {hex[2 * i], hex[2 * i + 1], 0};
    out[i] = (unsigned char)strtoul(digits, NULL, 16);
  }
  if (size != NULL) *size = length;
  return out;
}

static void print_hex(const unsigned char *data, size_t size) {
  for (size_t i = 0; i < size; i++) printf("%02x", data[i]);
  if (size == 0) putchar('-');
}

static void print_route(const offshoot_ack_route *ack) {
  printf(" %s %u %u.%u.%u.%u %016llx\n", transports[ack->transport], ack->port, ack->address[0], ack->address[1],
         ack->address[2], ack->address[3], (unsigned long long)ack->nonce);
}

static void print_problem(const char *problem) { printf("! MAILBOX_FRAME_CORRUPT %s\n", problem); }

static void frames(void) {
  char *name = (char *)bytes(NULL), *token = (char *)bytes(NULL);
  uint64_t frame_nonce = nonce();
  size_t count = number();
  unsigned char *page = (unsigned char *)malloc(OFFSHOOT__FRAME);
  if (page == NULL) abort();
  for (size_t i = 0; i < count; i++) {
    memset(page, 0xee, OFFSHOOT__FRAME);
    offshoot__arm_frame(page, name, token, i, count, frame_nonce);
    print_hex(page, OFFSHOOT__FRAME);
  }
  putchar('\n');
  free(page);
  free(token);
  free(name);
}

static void header(void) {
  unsigned char *page = bytes(NULL);
  offshoot__header read;
  const char *problem = offshoot__read_header(page, &read);
  if (problem != NULL) {
    print_problem(problem);
  } else {
    print_hex((const unsigned char *)read.name, strlen(read.name));
    putchar(' ');
    print_hex(page + OFFSHOOT__TOKEN, (size_t)offshoot__padded(page + OFFSHOOT__TOKEN, OFFSHOOT__TOKEN_SIZE));
    printf(" %zu %zu %016llx %s %lu\n", read.index, read.count, (unsigned long long)read.nonce, states[read.state],
           (unsigned long)read.generation);
  }
  free(page);
}

static void segment(void) {
  unsigned char *page = bytes(NULL);
  offshoot__segment read;
  const char *problem = offshoot__read_segment(page, &read);
  if (problem != NULL) {
    print_problem(problem);
  } else {
    printf("%lu %s ", (unsigned long)read.generation, content_types[read.content_type]);
    print_hex(read.payload, read.length);
    printf(" %zu", read.total);
    print_route(&read.ack);
  }
  free(page);
}

static void whole(void) {
  static offshoot_mailbox read;
  char *name = (char *)bytes(NULL);
  size_t size;
  unsigned char *pages;
  const char *problem;
  memset(&read, 0, sizeof read);
  memcpy(read.name, name, strlen(name));
  read.nonce = nonce();
  pages = bytes(&size);
  read.segments = size / OFFSHOOT__FRAME;
  read.memory = (unsigned char *)calloc(2, size);
  if (read.memory == NULL) abort();
  memcpy(read.memory, pages, size);
  if (!offshoot__is_complete(&read)) {
    puts("incomplete");
  } else if ((problem = offshoot__read_mailbox(&read)) != NULL) {
    print_problem(problem);
  } else {
    printf("%lu %s ", (unsigned long)read.delivery.generation, content_types[read.delivery.content_type]);
    print_hex(read.delivery.payload, read.delivery.length);
    print_route(&read.ack);
  }
  free(read.memory);
  free(pages);
  free(name);
}

static offshoot_stage stage(void) {
  const char *name = field();
  return strcmp(name, "received") == 0 ? OFFSHOOT_RECEIVED : strcmp(name, "failed") == 0 ? OFFSHOOT_FAILED : OFFSHOOT_APPLIED;
}

static void ack_line(void) {
  char line[OFFSHOOT__MAX_ACK + 1];
  char *name = (char *)bytes(NULL);
  unsigned long generation = number();
  uint64_t ack_nonce = nonce();
  offshoot_stage how = stage();
  char *detail = (char *)bytes(NULL);
  offshoot__format_ack(line, name, (uint32_t)generation, ack_nonce, how, detail);
  puts(line);
  free(detail);
  free(name);
}

static void ack_ok(void) {
  size_t size;
  char *line = (char *)bytes(&size);
  uint64_t confirmed;
  if (offshoot__parse_ack_ok(line, size, &confirmed)) printf("%016llx\n", (unsigned long long)confirmed);
  else puts("none");
  free(line);
}

/* One mailbox at a time. */
static offshoot_mailbox mailbox;

static void print_token(void) {
  char token[129];
  offshoot_token(&mailbox, token);
  print_hex((const unsigned char *)token, strlen(token));
}

static void print_refusal(offshoot_result result) {
  if (result == OFFSHOOT_CORRUPT) print_problem(mailbox.problem);
  else printf("! %s\n", offshoot_reason(result));
}

static void arm(void) {
  char *name = (char *)bytes(NULL), *token = (char *)bytes(NULL);
  offshoot_result result = offshoot_arm(&mailbox, name, *token == 0 ? NULL : token, number());
  if (result == OFFSHOOT_OK) {
    print_token();
    printf(" %zu\n", mailbox.segments * OFFSHOOT_SEGMENT_CAPACITY);
  } else {
    print_refusal(result);
  }
  free(token);
  free(name);
}

static void rearm(void) {
  char *token = (char *)bytes(NULL);
  offshoot_result result = offshoot_rearm(&mailbox, *token == 0 ? NULL : token);
  if (result == OFFSHOOT_OK) {
    print_token();
    putchar('\n');
  } else {
    print_refusal(result);
  }
  free(token);
}

static void wait_for_delivery(void) {
  const char *limit = field();
  int timeout_ms = strcmp(limit, "-") == 0 ? OFFSHOOT_FOR_EVER : atoi(limit);
  offshoot_delivery delivery;
  offshoot_result result = offshoot_wait(&mailbox, timeout_ms, strcmp(field(), "keep") == 0, &delivery);
  if (result != OFFSHOOT_OK) {
    print_refusal(result);
    return;
  }
  printf("%lu %s ", (unsigned long)delivery.generation, content_types[delivery.content_type]);
  print_hex(delivery.payload, delivery.length);
  putchar('\n');
}

static void ack(void) {
  offshoot_stage how = stage();
  char *detail = (char *)bytes(NULL);
  offshoot_result result = offshoot_ack(&mailbox, how, detail, (int)number());
  if (result < 0) print_refusal(result);
  else puts(result == OFFSHOOT_OK ? "true" : "false");
  free(detail);
}

static void dispose(void) {
  offshoot_dispose(&mailbox);
  puts("ok");
}

int main(void) {
  static const struct {
    const char *name;
    void (*serve)(void);
  } requests[] = {{"frames", frames}, {"header", header}, {"segment", segment}, {"mailbox", whole},
                  {"ack-line", ack_line}, {"ack-ok", ack_ok}, {"arm", arm}, {"rearm", rearm},
                  {"wait", wait_for_delivery}, {"ack", ack}, {"dispose", dispose}};
  char *line = NULL;
  size_t room = 0;
  ssize_t length;
  while ((length = getline(&line, &room, stdin)) > 0) {
    const char *name;
    if (line[length - 1] == '\n') line[length - 1] = 0;
    request = line;
    name = field();
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++)
      if (strcmp(requests[i].name, name) == 0) requests[i].serve();
    fflush(stdout);
  }
  free(line);
  return 0;
}
