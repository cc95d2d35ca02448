import type { ScenarioName } from '../../network/testing/all-scenarios.js';
import { NamespaceLab, WITHOUT, type Answer } from '../../network/testing/namespace-lab.js';
import { missingForNamespaces } from '../../network/testing/namespaces.js';
import { HelperLab, missingForHelper } from './helper-lab.js';

/** Who makes the network that scenarios are tried in. */
export interface Adapter {
  readonly name: string;
  /** What of the machine it misses; undefined where nothing. */
  readonly missing: string | undefined;
  /** TAPs of slots that are there all the time. */
  readonly kept: number;
  readonly capacity: number;
  readonly withoutNft: string;
  open(): Promise<Lab>;
}

/** Scenarios in a process that has the network by this adapter. */
export interface Lab extends AsyncDisposable {
  readonly run: <Name extends ScenarioName>(name: Name) => Promise<Answer<Name>>;
}

export const AS_ROOT: Adapter = {
  name: 'by the daemon itself, which is root',
  missing: missingForNamespaces(),
  kept: 0,
  capacity: 4000,
  withoutNft: 'NFT_MISSING',
  open: async () => {
    const lab = await NamespaceLab.open();
    return {
      run: <Name extends ScenarioName>(name: Name): Promise<Answer<Name>> => lab.run(name),
      [Symbol.asyncDispose]: () => lab[Symbol.asyncDispose](),
    };
  },
};

/** Of the daemon that has the helper. */
export const INSTANCES = 12;

export const BY_HELPER: Adapter = {
  name: "by root's helper, for a daemon without rights",
  missing: missingForNamespaces() ?? (missingForHelper() || undefined),
  kept: INSTANCES,
  capacity: INSTANCES,
  withoutNft: 'HELPER_CAPABILITY',
  open: async () => {
    const [lab, helper] = [await NamespaceLab.open(), await HelperLab.open()];
    await helper.installNft();
    return {
      run: async <Name extends ScenarioName>(name: Name): Promise<Answer<Name>> => {
        const state = await lab.stateDirectory();
        const content = { state_directory: state, log: helper.log };
        await helper.configure({ ...content, network_subnet: '10.213.0.0/20' });
        return lab.run(name, WITHOUT.rootButForPrograms, state, {
          root: helper.rootOfTest,
          helper: {
            path: helper.helper,
            carrier: helper.carrierOfCaller,
            version: '1.2.3',
            instances: INSTANCES,
            configuration: helper.configuration,
            content,
          },
        });
      },
      [Symbol.asyncDispose]: async () => {
        await lab[Symbol.asyncDispose]();
        await helper[Symbol.asyncDispose]();
      },
    };
  },
};

/** For the title of tests: what it is, and why they are skipped. */
export const titleOf = ({ name, missing }: Adapter): string =>
  missing === undefined ? name : `${name} (skipped: ${missing})`;
