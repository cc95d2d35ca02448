import { HELPER_SCENARIOS } from './helper-scenarios.js';
import { SCENARIOS } from './scenarios.js';
import { TRAFFIC_SCENARIOS } from './traffic-scenarios.js';

/** What can be tried in a network namespace of one's own. */
export const ALL_SCENARIOS = { ...SCENARIOS, ...TRAFFIC_SCENARIOS, ...HELPER_SCENARIOS };

export type ScenarioName = keyof typeof ALL_SCENARIOS;
