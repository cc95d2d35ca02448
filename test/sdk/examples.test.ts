import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const text = (path: string): string => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8');

/** The programs four-languages.test.ts runs, by the language's folder. */
const EXAMPLES = [
  'javascript/examples/task.mjs',
  'python/examples/task.py',
  'c/examples/task.c',
  'shell/examples/task.sh',
];

describe.each(EXAMPLES)('the example %s', (path) => {
  const program = text(`sdk/${path}`);

  it('is a complete program of less than 20 lines', () => {
    expect(program.trim().split('\n').length).toBeLessThan(20);
  });

  it.each([`sdk/${path.split('/')[0] ?? ''}/README.md`, 'docs/mailboxes.md'])('stands in %s as it is', (page) => {
    expect(text(page)).toContain(`\n${program}\`\`\`\n`);
  });
});
