import { afterAll, beforeAll, describe } from 'vitest';
import { MountLab, missingFor, type LabFilesystem, type MountedFilesystem } from './mount-lab.js';

/**
 * Describes what needs filesystems of these types, each mounted empty for all tests of `body`; skipped, with the reason in
 * the title, where one cannot be had. What `body` is given can be asked within tests.
 */
export function describeOn(
  title: string,
  types: readonly LabFilesystem[],
  body: (mounted: (index?: number) => MountedFilesystem, lab: () => MountLab) => void,
): void {
  const missing = types.map(missingFor).find((each) => each !== '') ?? '';
  describe.skipIf(missing !== '')(`${title}${missing && ` (skipped: ${missing})`}`, () => {
    let lab: MountLab | undefined;
    const filesystems: MountedFilesystem[] = [];
    beforeAll(async () => {
      lab = await MountLab.open();
      for (const type of types) filesystems.push(await lab.mount(type));
    }, 60_000);
    afterAll(() => lab?.[Symbol.asyncDispose]());
    body(
      (index = 0) => present(filesystems[index]),
      () => present(lab),
    );
  });
}

function present<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new Error('not mounted: to be asked within a test');
  return value;
}
