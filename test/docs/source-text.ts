import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY } from './page.js';

/** The text of every program file below a folder, tests left out, by path. */
export function sourcesIn(...folders: readonly string[]): ReadonlyMap<string, string> {
  const paths = folders.flatMap((folder) =>
    readdirSync(join(REPOSITORY, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.(?:ts|mjs|sh)$/.test(name) && !/\.test\.ts$|(?:^|\/)(?:testing|bench)\//.test(name))
      .map((name) => join(folder, name)),
  );
  return new Map(paths.map((path) => [path, readFileSync(join(REPOSITORY, path), 'utf8')]));
}

/** Cells of the tables below a heading of a page, row by row, the head and its rule left out. */
export function tableRows(text: string, heading: string): string[][] {
  const start = text.indexOf(`\n${heading}\n`);
  if (start < 0) throw new Error(`the page has no ${heading}`);
  const section = text.slice(start + heading.length + 2);
  const level = /^#+/.exec(heading)?.[0] ?? '';
  const end = section.search(new RegExp(`^#{1,${String(level.length)}} `, 'm'));
  const lines = (end < 0 ? section : section.slice(0, end)).split('\n');
  return lines
    .filter((line, i) => line.startsWith('|') && !isRule(line) && !isRule(lines[i + 1] ?? ''))
    .map((line) =>
      line
        .slice(1, line.lastIndexOf('|'))
        .split('|')
        .map((cell) => cell.trim()),
    );
}

const isRule = (line: string): boolean => /^\|(?: ?-+ ?\|)+$/.test(line);

/** What stands in backquotes. */
export const codesIn = (cell: string): string[] => Array.from(cell.matchAll(/`([^`]+)`/g), ([, code = '']) => code);
