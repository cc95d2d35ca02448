#!/usr/bin/env bash
# Fails when proto/src/generated is not what the .proto files give.
set -euo pipefail
cd "$(dirname "$0")/../proto"
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
npx buf generate --output "$fresh"
diff -r "$fresh/src/generated" src/generated || {
  echo 'the stubs are not current: run `npm run generate --workspace @offshoot/proto` and commit them' >&2
  exit 1
}
