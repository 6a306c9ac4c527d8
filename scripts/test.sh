#!/usr/bin/env bash
# Sets everything up and runs ruff, mypy and the tests. Arguments go to pytest: scripts/test.sh -k warp
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$("$root/scripts/setup.sh" dev)
cd "$root"

failed=()
"$python" -m ruff check . || failed+=("ruff check")
"$python" -m ruff format --check --quiet . || failed+=("ruff format (mend it: $python -m ruff format .)")
"$python" -m mypy || failed+=("mypy")
if [ ${#failed[@]} -gt 0 ]; then
  echo "test: failed: ${failed[*]}; the tests run all the same" >&2
fi
"$python" -m pytest "$@" || failed+=("pytest")
[ ${#failed[@]} -eq 0 ]
