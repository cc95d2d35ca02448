/* Waits for a task, and acknowledges with its length and checksum. */
#define OFFSHOOT_MAILBOX_IMPLEMENTATION
#include "offshoot_mailbox.h"

int main(void) {
  static offshoot_mailbox mailbox;
  offshoot_delivery task;
  uint32_t sum = 0;
  char detail[64];
  if (offshoot_arm(&mailbox, "c", NULL, 204800) != OFFSHOOT_OK) return 1;
  puts("c is armed"), fflush(stdout);
  if (offshoot_wait(&mailbox, OFFSHOOT_FOR_EVER, 0, &task) != OFFSHOOT_OK) return 1; /* parked here, and forked */
  for (size_t i = 0; i < task.length; i++) sum = sum * 31 + task.payload[i];
  snprintf(detail, sizeof detail, "%zu bytes, sum %lu", task.length, (unsigned long)sum);
  offshoot_ack(&mailbox, OFFSHOOT_APPLIED, detail, OFFSHOOT_ACK_TIMEOUT_MS);
  offshoot_dispose(&mailbox);
  return 0;
}
