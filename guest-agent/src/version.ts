declare const OFFSHOOT_AGENT_VERSION: string | undefined;

/** Version of the agent; put in by the bundler. */
export const AGENT_VERSION = typeof OFFSHOOT_AGENT_VERSION === 'string' ? OFFSHOOT_AGENT_VERSION : '0.0.0-unbundled';
