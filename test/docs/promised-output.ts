/** A time, or a size on disk: measured, so another one each time. With the unit `s` of protobuf's JSON, too. */
const MEASURED = /\d+(?:\.\d+)? ?(?:ms|s|min)\b/g;
const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** What a promised line stands for: `…` is anything, times are any times, spaces are any number of them. */
export function pattern(line: string): RegExp {
  const source = line
    .trim()
    .split('…')
    .map((piece) =>
      piece
        .split(MEASURED)
        .map((text) => text.split(/\s+/).map(escaped).join('\\s+'))
        .join(MEASURED.source),
    )
    .join('.*');
  return new RegExp(`^\\s*${source}\\s*$`);
}

/** The first promised line that no line of the output stands for; undefined when all have one of their own, in any order. */
export function missingLine(promised: readonly string[], output: string): string | undefined {
  const lines = output.split('\n');
  return promised.find((line) => {
    const wanted = pattern(line);
    const found = lines.findIndex((candidate) => wanted.test(candidate));
    if (found >= 0) lines.splice(found, 1);
    return found < 0;
  });
}
