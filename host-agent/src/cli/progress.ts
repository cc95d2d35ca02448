import type { CommandContext } from './command-context.js';

/** Says what is being done now. */
export type Report = (step: string) => void;

/**
 * Runs `work` under a spinner with its latest step where there is a terminal; else the steps go to stderr line by line, and
 * with `--json` nowhere.
 */
export async function withProgress<T>(
  context: CommandContext,
  title: string,
  work: (report: Report) => Promise<T>,
): Promise<T> {
  if (!context.interactive)
    return work((step) => {
      if (!context.json) process.stderr.write(`${step}\n`);
    });
  const { Listr } = await import('listr2'); // not worth its load time where nothing is drawn
  const done: { result?: { value: T } } = {};
  await new Listr(
    [
      {
        title,
        task: async (_, task) => {
          const value = await work((step) => {
            task.output = step;
          });
          done.result = { value };
        },
      },
    ],
    // SIGINT is the command's own business: it cancels the call, which then is rolled back.
    { registerSignalListeners: false, rendererOptions: { showErrorMessage: false } },
  ).run();
  if (done.result === undefined) throw new TypeError('a finished task has no result');
  return done.result.value;
}
