import { beforeAll, describe, expect, it } from 'vitest';
import { provideGrpcurl } from '../harness/grpcurl.js';
import { readPages, shellBlocks, type ShellBlock } from './page.js';
import { runBlocks, type PageRun } from './page-session.js';
import { missingLine, pattern } from './promised-output.js';

/** Blocks that are for people alone: each page with the reasons it gives, in order. Any other block is run. */
const NOT_RUN = {
  'README.md': ['both install packages; `make demo` and `make test` are the jobs of CI'],
  'docs/operating.md': [
    'installs packages with apt and npm',
    'gives the installation to root',
    'makes a user and lets it call the helper; tests run it in a system of their own',
    'has udev give the devices of volumes to the daemon; the lab host runs it',
  ],
};

const PAGE_LIMIT_MS = 600_000;

const grpcurl = await provideGrpcurl();
const usesGrpcurl = ({ commands }: ShellBlock): boolean => /^grpcurl /m.test(commands);
const pages = readPages();

describe('the pages', () => {
  it('leave out no commands but those counted here', () => {
    const notRun = pages.map(({ path, blocks }) => [path, blocks.flatMap((block) => block.notRun ?? [])] as const);
    expect(Object.fromEntries(notRun.filter(([, reasons]) => reasons.length > 0))).toEqual(NOT_RUN);
  });

  it('have their commands in blocks marked sh, so that they are found', () => {
    for (const { text } of pages) expect(text).not.toMatch(/^```(bash|shell|console|zsh)$/m);
  });

  it.each(pages)('$path has no link to a place that is not there', ({ path, text }) => {
    const anchorsOf = (page: string): string[] =>
      Array.from(pages.find((each) => each.path === page)?.text.matchAll(/^#+ (.+)$/gm) ?? [], ([, title = '']) =>
        title
          .toLowerCase()
          .replace(/[^a-z0-9 -]/g, '')
          .replaceAll(' ', '-'),
      );
    for (const [, file = '', anchor] of text.matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)/g)) {
      const target = file === '' ? path : `docs/${file.replace(/^docs\//, '')}`;
      expect(pages.map((page) => page.path)).toContain(target);
      if (anchor !== undefined) expect(anchorsOf(target)).toContain(anchor);
    }
  });
});

describe.each(pages.filter(({ blocks }) => blocks.some(({ notRun }) => notRun === undefined)))(
  'the commands of $path',
  ({ blocks }) => {
    const wanted = blocks.filter(
      (block) => block.notRun === undefined && (grpcurl !== undefined || !usesGrpcurl(block)),
    );
    let run: PageRun;
    beforeAll(async () => {
      run = await runBlocks(wanted, grpcurl);
    }, PAGE_LIMIT_MS);

    it('run from the first to the last', () => {
      const { lastBlock, exitCode } = run;
      const output = lastBlock === undefined ? '' : run.outputs.get(lastBlock);
      expect({ exitCode, at: lastBlock?.at, output }).toEqual({ exitCode: 0, at: wanted.at(-1)?.at, output });
    });

    it('print what the page says', () => {
      for (const block of wanted) {
        const output = run.outputs.get(block) ?? '';
        expect({ at: block.at, missing: missingLine(block.promised, output), output }).toEqual({
          at: block.at,
          missing: undefined,
          output,
        });
      }
    });

    it('leave no VM behind', () => {
      expect(run.vmsLeft).toBe(0);
    });

    if (blocks.some(usesGrpcurl))
      it('include those of grpcurl', ({ skip }) => {
        skip(grpcurl === undefined, 'skipped: grpcurl, and a Go tool chain to build it');
        for (const block of blocks.filter(usesGrpcurl)) expect(run.outputs.has(block)).toBe(true);
      });
  },
);

describe('a run of commands', () => {
  it('ends at the first that fails, together with what was started in the background', async () => {
    const text = ['sleep 1000 &\necho "in /tmp/offshoot"', 'false\necho on', 'echo never'];
    const blocks = shellBlocks('p.md', text.map((commands) => `\`\`\`sh\n${commands}\n\`\`\`\n`).join('\n'));
    const { exitCode, outputs, vmsLeft } = await runBlocks(blocks, undefined);
    expect({ exitCode, outputs: [...outputs.values()], vmsLeft }).toEqual({
      exitCode: 1,
      outputs: ['in /tmp/offshoot\n', ''],
      vmsLeft: 0,
    });
  });
});

describe('a promised line', () => {
  it('stands for any times and any width of columns, and for nothing else', () => {
    const line = pattern('one   runs, booted in 5.1 s  [10.213.0.6]');
    expect('one runs, booted in 240 ms [10.213.0.6]').toMatch(line);
    expect('one runs, booted in 240 ms [10.213.0.7]').not.toMatch(line);
    expect('one runs, booted in 240 ms [10.213.0.6] or so').not.toMatch(line);
    expect('"bootTime": "12.5s"').toMatch(pattern('"bootTime": "5s"'));
  });

  it('leaves open what the page leaves open', () => {
    expect('image default is ready: 4777cd13fa0a, kernel 6.1').toMatch(pattern('image default is ready: …, kernel …'));
  });

  it('must come, once for each time it is promised', () => {
    expect(missingLine(['b', 'a'], 'a\nx\nb\n')).toBeUndefined();
    expect(missingLine(['a', 'c'], 'a\nx\nb\n')).toBe('c');
    expect(missingLine(['a', 'a'], 'a\nx\nb\n')).toBe('a');
  });
});

describe('a block of commands', () => {
  it('is told apart from other blocks, with its place, its promise and its excuse', () => {
    const text =
      'T\n\n<!-- not run: why -->\n```sh\na\n```\n\n```sh\nb\n```\n\n```text\nB\n```\n\nx\n\n```json\n{}\n```\n';
    expect(shellBlocks('p.md', text)).toEqual([
      { at: 'p.md:5', commands: 'a\n', promised: [], notRun: 'why' },
      { at: 'p.md:9', commands: 'b\n', promised: ['B'], notRun: undefined },
    ]);
  });
});
