// Prints what was skipped and why, what took longest, what failed, then the closing line; exits with 1 when anything failed.
// Failures come last: who sees only the end of a long output sees them.
// Arguments: what scripts/report.mjs wrote, and the status the run ended with.
import { readFileSync } from 'node:fs';

const [report, status] = process.argv.slice(2);
let results = { passed: 0, failures: [], skipped: [], slowest: [] };
try {
  results = JSON.parse(readFileSync(report, 'utf8'));
} catch {
  console.error('the test run left no report');
}
const { passed, failures, skipped, slowest } = results;

// Tests that lack the same thing are one line, with how many they are.
const lacking = new Map();
for (const name of skipped) {
  const reason = /skipped: [^()]*(?:\([^()]*\)[^()]*)*/.exec(name)?.[0] ?? name;
  lacking.set(reason, (lacking.get(reason) ?? 0) + 1);
}
for (const [reason, count] of lacking) console.log(`- ${reason} (${count} ${count === 1 ? 'test' : 'tests'})`);
if (slowest.length > 0)
  console.log(`slowest files: ${slowest.map(([file, seconds]) => `${file} ${String(seconds)} s`).join(', ')}`);

// A check that failed outside the test runner (lint), or a run that was cut, is a failure too.
if (failures.length === 0 && status !== '0')
  failures.push({ file: '', name: 'outside the tests', why: 'see above: lint failed, or the run was cut' });
for (const { file, name, why } of failures) console.log(`FAILED ${[file, name, why].filter(Boolean).join(': ')}`);
console.log(`${passed} passed, ${failures.length} failed, ${skipped.length} skipped`);
process.exit(failures.length > 0 ? 1 : 0);
