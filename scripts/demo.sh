#!/usr/bin/env bash
# Sets everything up and animates a portrait.
#
#   scripts/demo.sh                                  the bundled portrait, the bundled driver
#   scripts/demo.sh PORTRAIT DRIVER [OPTION ...]     yours; further options go to `reenact animate`
#
# The video is out/demo.mp4 in this checkout unless -o says otherwise. See scripts/setup.sh for the environment.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
case ${1:-} in -h | --help)
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"
  exit 0
  ;;
esac
assets=$root/src/fewshot_reenact/assets
portrait=$assets/grace_hopper.jpg
driver=$assets/driver.mp4
if [ $# -gt 0 ] && [[ $1 != -* ]]; then
  if [ $# -lt 2 ] || [[ $2 == -* ]]; then
    echo "demo: give a portrait and a driver, or neither: scripts/demo.sh PORTRAIT DRIVER [OPTION ...]" >&2
    exit 2
  fi
  portrait=$1
  driver=$2
  shift 2
fi

python=$("$root/scripts/setup.sh")
reenact=$(dirname "$python")/reenact
output=$root/out/demo.mp4
mkdir -p "$root/out"
"$reenact" animate "$portrait" "$driver" -o "$output" --overwrite "$@"
# A later -o among the options wins, and `animate` has then said where the video is.
if [[ " $* " != *" -o"* && " $* " != *" --output"* ]]; then
  echo "the video is in $output"
fi
