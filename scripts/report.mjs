// A reporter of vitest's: writes what scripts/summary.mjs prints into the file OFFSHOOT_REPORT. Its own, because the JSON of
// vitest says nothing of a `beforeAll` that failed.
import { writeFileSync } from 'node:fs';
import { stripVTControlCharacters } from 'node:util';

/** So much of a message from its start, and from its end: a console that says why a VM ended takes both. */
const LINES = { first: 12, last: 12 };

/** What the first of the errors says: all of it but the middle of something long, and without what moves a terminal's cursor. */
function reasonOf(errors) {
  const text = stripVTControlCharacters(errors[0]?.message ?? errors[0]?.stack ?? '').replaceAll(/[^\n\P{Cc}]/gu, '');
  const lines = text.trim().split('\n');
  const { first, last } = LINES;
  if (lines.length <= first + last) return lines.join('\n');
  return [...lines.slice(0, first), `(${lines.length - first - last} lines)`, ...lines.slice(-last)].join('\n');
}

export default class Report {
  onTestRunEnd(modules, unhandledErrors) {
    const passed = [];
    const skipped = [];
    const failures = unhandledErrors.map((error) => ({ file: '', name: 'outside the tests', why: reasonOf([error]) }));
    for (const module of modules) {
      const file = module.relativeModuleId;
      const fail = (name, errors) => failures.push({ file, name, why: reasonOf(errors) });
      if (module.errors().length > 0) fail('the file', module.errors());
      for (const suite of module.children.allSuites())
        if (suite.errors().length > 0) fail(suite.fullName, suite.errors());
      for (const test of module.children.allTests()) {
        const { state, errors, note } = test.result();
        if (state === 'passed') passed.push(test.fullName);
        else if (state === 'failed') fail(test.fullName, errors);
        else skipped.push(note === undefined ? test.fullName : `${test.fullName} (${note})`);
      }
    }
    const seconds = modules.map((module) => [module.relativeModuleId, Math.round(module.diagnostic().duration / 1000)]);
    const slowest = seconds.sort(([, a], [, b]) => b - a).slice(0, 20);
    writeFileSync(process.env.OFFSHOOT_REPORT, JSON.stringify({ passed: passed.length, failures, skipped, slowest }));
  }
}
