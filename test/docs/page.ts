import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));

/** A block of shell commands in a page, with what the page says about it. */
export interface ShellBlock {
  /** `PAGE:LINE` of its first command. */
  readonly at: string;
  readonly commands: string;
  /** The text block right after it: lines its output must have. Empty: nothing is promised. */
  readonly promised: readonly string[];
  /** Why it is not run, from the comment right before it; undefined: it is. */
  readonly notRun: string | undefined;
}

export interface Page {
  /** Relative to the repository. */
  readonly path: string;
  readonly text: string;
  readonly blocks: readonly ShellBlock[];
}

const FENCE = /^```(\S*)\n([\s\S]*?)^```$/gm;
const NOT_RUN = /<!-- not run: (.+?) -->\n$/;

/** README.md and everything in docs/. */
export function readPages(): Page[] {
  const documents = readdirSync(join(REPOSITORY, 'docs'), { recursive: true, encoding: 'utf8' });
  const paths = [
    'README.md',
    ...documents
      .filter((name) => name.endsWith('.md'))
      .map((name) => `docs/${name}`)
      .sort(),
  ];
  return paths.map((path) => {
    const text = readFileSync(join(REPOSITORY, path), 'utf8');
    return { path, text, blocks: shellBlocks(path, text) };
  });
}

export function shellBlocks(path: string, text: string): ShellBlock[] {
  const fences = [...text.matchAll(FENCE)];
  return fences.flatMap((fence, i) => {
    const [whole, language, commands = ''] = fence;
    if (language !== 'sh') return [];
    const next = fences[i + 1];
    const isAdjacent = next !== undefined && text.slice(fence.index + whole.length, next.index).trim() === '';
    const promised = next?.[1] === 'text' && isAdjacent ? (next[2] ?? '') : '';
    return {
      at: `${path}:${text.slice(0, fence.index).split('\n').length + 1}`,
      commands,
      promised: promised.split('\n').filter((line) => line.trim() !== ''),
      notRun: NOT_RUN.exec(text.slice(0, fence.index))?.[1],
    };
  });
}
