/** One line on the agent's stderr, which is the guest's console. Payloads and tokens never go here. */
export function log(message: string): void {
  process.stderr.write(`offshoot-agent: ${message}\n`);
}
