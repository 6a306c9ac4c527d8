#!/usr/bin/env bash
# Sets everything up and runs ruff, mypy and the tests.
#
#   scripts/test.sh                 everything
#   scripts/test.sh --fast          without the tests that are marked slow or browser: under two minutes on two idle cores
#   scripts/test.sh -k warp         other arguments go to pytest
#
#   REENACT_TEST_PROCESSES=N        how many processes run tests (default: the processors, four at most; 1: none beside
#                                   pytest itself)
set -euo pipefail

case ${1:-} in -h | --help)
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"
  exit 0
  ;;
esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
selected=()
if [ "${1:-}" = --fast ]; then
  selected=(-m "not slow and not browser")
  shift
fi
python=$("$root/scripts/setup.sh" dev)
cd "$root"
# Threads that wait for work give their core to the other process.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
# setup.sh leaves modules to be compiled when they are first used. Where Python is told to keep no compiled modules, as in
# many container images, each of the several hundred processes that tests start would compile torch again: 3 s.
unset PYTHONDONTWRITEBYTECODE
processes=${REENACT_TEST_PROCESSES:-$("$python" -c 'import os; print(min(4, os.cpu_count() or 1))')}

failed=()
"$python" -m ruff check . || failed+=("ruff check")
"$python" -m ruff format --check --quiet . || failed+=("ruff format (mend it: $python -m ruff format .)")
"$python" -m mypy || failed+=("mypy")
if [ ${#failed[@]} -gt 0 ]; then
  echo "test: failed: ${failed[*]}; the tests run all the same" >&2
fi
"$python" -m pytest -n "$processes" --dist worksteal "${selected[@]}" "$@" || failed+=("pytest")
[ ${#failed[@]} -eq 0 ]
