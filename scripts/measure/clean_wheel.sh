#!/usr/bin/env bash
# Builds sdist and wheel from a clean copy of this checkout, looks into both (wheel_contents.py), installs the wheel alone into a
# fresh environment and uses it there, away from the checkout: help, info, models, a video of a bundled portrait, verify.
#
#   scripts/measure/clean_wheel.sh              all of it; takes minutes, for torch
#   scripts/measure/clean_wheel.sh --contents   build and look only
#   scripts/measure/clean_wheel.sh --keep DIR   also put sdist and wheel into DIR
#
#   REENACT_PYTHON=PYTHON      which Python (default: python3)
#   REENACT_TORCH=cpu|default  the newest CPU build of torch that pip finds, or what the package asks for (default: cpu)
set -euo pipefail

case ${1:-} in -h | --help)
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"
  exit 0
  ;;
esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
contents=0 keep=
while [ $# -gt 0 ]; do
  case $1 in
    --contents) contents=1 ;;
    --keep) keep=${2:?--keep wants a folder} && shift ;;
    *) echo "clean_wheel: $1 is not known; see --help" >&2 && exit 2 ;;
  esac
  shift
done
base=${REENACT_PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
unset PYTHONPATH

echo "building" >&2
mkdir "$work/source"
(cd "$root" && git ls-files -z --cached --others --exclude-standard |
  while IFS= read -r -d '' file; do if [ -f "$file" ]; then printf '%s\0' "$file"; fi; done |
  tar --null -T - -cf -) | tar -xf - -C "$work/source"
"$base" -m venv "$work/build"
"$work/build/bin/python" -m pip install -qq build
# The wheel is built from the sdist: what that lacks is missing here too.
"$work/build/bin/python" -m build --outdir "$work/dist" "$work/source" >"$work/build.log" 2>&1 ||
  { tail -n 20 "$work/build.log" >&2 && exit 1; }
"$base" "$root/scripts/measure/wheel_contents.py" "$work"/dist/*.whl "$work"/dist/*.tar.gz "$work/source"
if [ -n "$keep" ]; then mkdir -p "$keep" && cp "$work"/dist/* "$keep"; fi
if [ $contents = 1 ]; then exit 0; fi

echo "installing the wheel alone" >&2
"$base" -m venv "$work/alone"
python=$work/alone/bin/python
constraint=$work/constraints.txt
: >"$constraint"
if [ "${REENACT_TORCH:-cpu}" = cpu ]; then
  build=$("$python" -m pip index versions torch 2>/dev/null | tr -d ' ' | tr ',:' '\n\n' | grep -m 1 -E '^[0-9.]+\+cpu$' || true)
  if [ -n "$build" ]; then
    echo "torch==$build" >"$constraint"
  else
    "$python" -m pip install -qq --no-compile --index-url https://download.pytorch.org/whl/cpu torch torchvision
  fi
fi
"$python" -m pip install -qq --no-compile -c "$constraint" "$work"/dist/*.whl
"$python" -m pip check
mkdir "$work/elsewhere"
cd "$work/elsewhere"
reenact() { env -i HOME="$work/elsewhere" PATH=/usr/bin:/bin LANG=C.UTF-8 "$work/alone/bin/reenact" "$@"; }
reenact --version
reenact models >models.txt
reenact info | head -n 2
portrait=$("$python" -c 'import fewshot_reenact, pathlib; print(pathlib.Path(fewshot_reenact.__file__).parent / "assets" / "astronaut.jpg")')
reenact animate "$portrait" motion:blink --end 0.4 -o blink.mp4 --accept-use
reenact verify blink.mp4
echo "clean_wheel: ok, $(du -sm "$work/alone" | cut -f1) MB installed"
