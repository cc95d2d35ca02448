// Prints what was skipped and why, what failed, then the closing line; exits with the status given, or 1 when anything
// failed. Failures come last: who sees only the end of a long output sees them.
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';

const [report, status] = process.argv.slice(2);
let results = { numPassedTests: 0, numFailedTests: 0, testResults: [] };
try {
  results = JSON.parse(readFileSync(report, 'utf8'));
} catch {
  console.error('the test run left no report');
}
const WAITING = new Set(['skipped', 'pending', 'todo']);
const isFailed = (test) => test.status === 'failed';
const firstLine = (text) => text.trim().split('\n', 1)[0];

// Tests that lack the same thing are one line, with how many they are.
const skipped = results.testResults.flatMap((file) =>
  file.assertionResults.filter(({ status }) => WAITING.has(status)),
);
const lacking = new Map();
for (const { fullName } of skipped) {
  const reason = /skipped: [^()]*(?:\([^()]*\)[^()]*)*/.exec(fullName)?.[0] ?? fullName;
  lacking.set(reason, (lacking.get(reason) ?? 0) + 1);
}
for (const [reason, count] of lacking) console.log(`- ${reason} (${count} ${count === 1 ? 'test' : 'tests'})`);

const brokenFiles = results.testResults.filter(
  (file) => file.status === 'failed' && !file.assertionResults.some(isFailed),
);
for (const file of results.testResults)
  for (const test of file.assertionResults.filter(isFailed))
    console.log(`FAILED ${relative('.', file.name)}: ${test.fullName}: ${firstLine(test.failureMessages[0] ?? '')}`);
for (const file of brokenFiles) console.log(`FAILED ${relative('.', file.name)}: ${firstLine(file.message ?? '')}`);

// A check that failed outside the test runner (lint), or a file that did not load, is a failure too.
let failed = results.numFailedTests + brokenFiles.length;
if (failed === 0 && status !== '0') {
  console.log('FAILED outside the tests: see above (scripts/lint.sh)');
  failed = 1;
}
console.log(`${results.numPassedTests} passed, ${failed} failed, ${skipped.length} skipped`);
process.exit(failed > 0 ? 1 : 0);
