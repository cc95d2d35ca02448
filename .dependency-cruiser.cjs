/**
 * The arrows of the house. `proto <- shared <- {host-agent, guest-agent, sdk}`; inside the host `domain <- ports <- app`,
 * adapters (drivers, network, images, storage, state, guest, mailbox) know ports, domain, paths and os, never each other
 * nor app; grpc and cli sit outside; only main.ts wires adapters in.
 */
const host = (folder) => `^host-agent/src/${folder}/`;
const ADAPTERS = ['drivers', 'network', 'images', 'storage', 'state', 'guest', 'mailbox'];
const PRIVILEGED_CONTRACT = '^host-agent/src/privileged/contract\\.ts$';
/** What a daemon that is root does by itself, and the helper for one that is not. */
const ALSO_ROOTS = [host('network/host'), '^host-agent/src/os/(rtnetlink|sparse-copy|disk-space|zvol-name)\\.ts$'];
/** Of the bench, what works on guest memory. */
const PARKED_MEMORY = '^host-agent/src/bench/parked-memory\\.ts$';

const adapterRules = ADAPTERS.map((adapter) => ({
  name: `adapter-${adapter}-stands-alone`,
  comment: 'An adapter imports ports, domain, paths and os only.',
  severity: 'error',
  from: { path: host(adapter) },
  to: {
    path: '^host-agent/src/',
    pathNot: [host(adapter), host('ports'), host('domain'), host('os'), '^host-agent/src/paths'],
  },
}));

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'nothing-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'proto-is-the-root',
      severity: 'error',
      from: { path: '^proto/' },
      to: { path: '^(shared|host-agent|guest-agent|sdk|test)/' },
    },
    {
      name: 'shared-knows-no-agent',
      severity: 'error',
      from: { path: '^shared/' },
      to: { path: '^(host-agent|guest-agent|sdk|test)/' },
    },
    {
      name: 'host-does-not-know-guest',
      severity: 'error',
      from: { path: '^host-agent/' },
      to: { path: '^(guest-agent|sdk|test)/' },
    },
    {
      name: 'guest-does-not-know-host',
      severity: 'error',
      from: { path: '^guest-agent/' },
      to: { path: '^(host-agent|sdk|test)/' },
    },
    {
      name: 'sdk-bundles-the-codec-alone',
      comment: 'A library runs in a guest that has nothing of ours: what it imports is in its one file.',
      severity: 'error',
      from: { path: '^sdk/' },
      to: { path: '^(proto|host-agent|guest-agent|test)/' },
    },
    {
      name: 'domain-knows-nobody',
      severity: 'error',
      from: { path: host('domain') },
      to: { path: '^host-agent/src/', pathNot: host('domain') },
    },
    {
      name: 'ports-know-the-domain',
      severity: 'error',
      from: { path: host('ports') },
      to: { path: '^host-agent/src/', pathNot: [host('ports'), host('domain'), '^host-agent/src/paths'] },
    },
    {
      name: 'app-knows-ports-not-adapters',
      comment: 'The mailbox core is what the application is about, and has no outside world but memory and files.',
      severity: 'error',
      from: { path: host('app') },
      to: {
        path: '^host-agent/src/',
        pathNot: [host('app'), host('ports'), host('domain'), host('mailbox'), host('os'), '^host-agent/src/paths'],
      },
    },
    {
      name: 'grpc-calls-the-app',
      severity: 'error',
      from: { path: host('grpc') },
      to: { path: '^host-agent/src/', pathNot: [host('grpc'), host('app'), host('ports'), host('domain')] },
    },
    {
      name: 'cli-talks-grpc-only',
      comment: 'Both ends of the API share its contract: address syntax, limits, error details, descriptors.',
      severity: 'error',
      from: { path: host('cli') },
      to: { path: '^host-agent/src/', pathNot: [host('cli'), host('grpc/contract')] },
    },
    {
      name: 'contract-stands-alone',
      severity: 'error',
      from: { path: host('grpc/contract') },
      to: { path: '^host-agent/src/', pathNot: host('grpc/contract') },
    },
    {
      name: 'demo-and-bench-are-clients',
      severity: 'error',
      from: { path: host('(demo|bench)'), pathNot: PARKED_MEMORY },
      to: { path: '^host-agent/src/', pathNot: [host('(demo|bench)'), host('cli'), host('config')] },
    },
    {
      name: 'bench-times-the-mailbox-core',
      comment:
        'The API tells no search apart from its answer and no delivery apart from the identity beside it: this one module of the bench runs the core itself.',
      severity: 'error',
      from: { path: PARKED_MEMORY },
      to: { path: '^host-agent/src/', pathNot: [host('mailbox'), host('ports'), host('domain'), host('os')] },
    },
    {
      name: 'os-knows-nobody',
      severity: 'error',
      from: { path: host('os') },
      to: { path: '^host-agent/src/', pathNot: [host('os'), host('ports'), host('domain'), PRIVILEGED_CONTRACT] },
    },
    {
      name: 'privileged-stands-alone',
      comment:
        'Root runs it: what it does is to be read in one folder, and where it does what a daemon that is root does itself.',
      severity: 'error',
      from: { path: host('privileged'), pathNot: '/testing/' },
      to: { path: '^host-agent/src/', pathNot: [host('privileged'), ...ALSO_ROOTS, '^host-agent/src/version\\.ts$'] },
    },
    {
      name: 'network-host-is-roots-too',
      comment: 'The helper runs it: it knows nothing of the daemon.',
      severity: 'error',
      from: { path: host('network/host') },
      to: { path: '^host-agent/src/', pathNot: [host('network/host'), host('domain'), host('os')] },
    },
    {
      name: 'root-runs-no-library',
      comment: 'Neither directly nor by what it imports; but for foreign functions, as which the kernel is called.',
      severity: 'error',
      from: { path: host('privileged'), pathNot: '/testing/' },
      to: { path: 'node_modules', pathNot: 'node_modules/koffi/', reachable: true },
    },
    {
      name: 'privileged-imports-node-and-errors',
      severity: 'error',
      from: { path: host('privileged'), pathNot: '/testing/' },
      to: { pathNot: ['^host-agent/src/', '^shared/src/errors\\.ts$'], dependencyTypesNot: ['core'] },
    },
    {
      name: 'privileged-is-a-program',
      comment: 'The daemon reaches it by sudo, and knows its exit statuses.',
      severity: 'error',
      from: { path: '^host-agent/src/', pathNot: host('privileged') },
      to: { path: host('privileged'), pathNot: PRIVILEGED_CONTRACT },
    },
    {
      name: 'foreign-functions-in-one-module',
      severity: 'error',
      from: { path: '^host-agent/src/', pathNot: '^host-agent/src/os/libc\\.ts$' },
      to: { path: 'koffi' },
    },
    ...adapterRules,
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: ['\\.test\\.ts$', '/dist/'] },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.depcruise.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'types', 'default'],
      extensions: ['.ts', '.js'],
    },
  },
};
