#!/usr/bin/env bash
# Gives the command line changed files of every kind, 10,000 by default, each in a process of its own with limits of
# memory and time, and says how they ended. Ctrl-C ends it with the table of what was tried.
#
#   scripts/measure/fuzz.sh                            10,000 inputs, one after the other
#   scripts/measure/fuzz.sh --count 500 --seed 7       other options go to tests/fuzz/forked.py
#
# What ended wrong is kept in out/fuzz: the file, the command, what was said. --only NUMBER tries one again.
set -euo pipefail

case ${1:-} in -h | --help)
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"
  exit 0
  ;;
esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=$("$root/scripts/setup.sh" dev)
unset PYTHONDONTWRITEBYTECODE # or each input's process compiles what it imports
exec nice -n 15 "$python" "$root/tests/fuzz/forked.py" --count 10000 --check --keep "$root/out/fuzz" "$@"
