// Prints what was skipped and why, then the closing line; exits with the status given, or 1 when anything failed.
import { readFileSync } from 'node:fs';

const [report, status] = process.argv.slice(2);
let results = { numPassedTests: 0, numFailedTests: 0, numPendingTests: 0, testResults: [] };
try {
  results = JSON.parse(readFileSync(report, 'utf8'));
} catch {
  console.error('the test run left no report');
}
const skipped = results.testResults.flatMap(({ assertionResults }) =>
  assertionResults.filter((test) => test.status === 'skipped' || test.status === 'pending' || test.status === 'todo'),
);
for (const test of skipped) console.log(`- ${test.fullName}`);
const brokenFiles = results.testResults.filter(
  (file) => file.status === 'failed' && file.assertionResults.every((t) => t.status !== 'failed'),
).length;
// A check that failed outside the test runner (lint), or a file that did not load, is a failure too.
let failed = results.numFailedTests + brokenFiles;
if (failed === 0 && status !== '0') failed = 1;
console.log(`${results.numPassedTests} passed, ${failed} failed, ${skipped.length} skipped`);
process.exit(failed > 0 ? 1 : 0);
