#!/usr/bin/env bash
# Lint, unit tests, tests with real VMs. The last line says how many passed, failed and were skipped; each skipped test
# says above what it misses.
set -uo pipefail
cd "$(dirname "$0")/.."

report=$(mktemp)
trap 'rm -f "$report"' EXIT
status=0
bash scripts/lint.sh || status=1
OFFSHOOT_REPORT=$report npx vitest run --reporter=default --reporter=./scripts/report.mjs "$@" || status=1
node scripts/summary.mjs "$report" "$status"
