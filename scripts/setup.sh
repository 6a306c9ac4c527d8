#!/usr/bin/env bash
# A private environment with this package in it; demo.sh and test.sh call it, and it may be called alone.
#
#   scripts/setup.sh              what animate, extract, check, info and verify need
#   scripts/setup.sh ui evaluate  the same and these extras: ui, evaluate, train, cluster, onnx, hub, docs; dev is what the tests need
#
# Extras are added to what is there. The build of torch that is there stays, whatever an extra asks for.
# Prints the path of the environment's python on stdout, everything else on stderr. A second call with the same
# pyproject.toml installs nothing and needs no network.
#
#   REENACT_VENV=DIR           where the environment is (default: .venv in this checkout)
#   REENACT_PYTHON=PYTHON      which Python makes it (default: python3, or the newest python3.N that is there)
#   REENACT_FULL=1             install every dependency, torchvision and face-alignment too
#   REENACT_HEADLESS=1         OpenCV without windows, for servers and images: 300 MB less with what it needs of the system
#   REENACT_TORCH=cpu|default  the CPU build of torch, or the one that the package index offers first
#                              (default: cpu where there is no NVIDIA driver)
#   REENACT_TORCH_INDEX=URL    where CPU builds are (default: PyTorch's own index)
set -euo pipefail

case ${1:-} in -h | --help)
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"
  exit 0
  ;;
esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
known=$(sed -n '/^\[project.optional-dependencies\]/,/^\[project.scripts\]/s/^\([a-z]*\) = .*/\1/p' "$root/pyproject.toml")
for extra in "$@"; do
  if ! grep -qx -- "$extra" <<<"$known"; then
    echo "setup: there is no extra $extra; those that are there: $(tr '\n' ' ' <<<"$known")" >&2
    exit 2
  fi
done
venv=${REENACT_VENV:-$root/.venv}
full=${REENACT_FULL:-0}
headless=${REENACT_HEADLESS:-0}
torch_index=${REENACT_TORCH_INDEX:-https://download.pytorch.org/whl/cpu}
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

find_python() {
  local candidate
  for candidate in ${REENACT_PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python3.10 python}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  fail "Python 3.10 or newer is needed and ${REENACT_PYTHON:-no python3 here} is not one; install one, or name it: REENACT_PYTHON=/path/to/python3"
}

make_venv() {
  local base
  base=$(find_python)
  "$base" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$base comes without venv; on Debian and Ubuntu: apt install python3-venv"
  say "making a private environment in $venv with $("$base" --version 2>&1)"
  "$base" -m venv --clear "$venv"
}

# Modules are compiled when they are first used, not all of them here: 170 MB less.
pip() { "$python" -m pip "$@" 1>&2; }

# The host answers within six seconds. An alarm, since a name server that hangs heeds no time-out of Python's.
reachable() {
  "$python" - "$1" >/dev/null 2>&1 <<'PY'
import signal, sys, urllib.request
if hasattr(signal, "alarm"):
    signal.alarm(6)
urllib.request.urlopen(sys.argv[1].rstrip("/") + "/torch/", timeout=5).close()
PY
}

# The newest CPU build among what pip has been configured with (--find-links, a mirror); empty if there is none.
configured_cpu_build() {
  "$python" -m pip index versions torch 2>/dev/null | tr -d ' ' | tr ',:' '\n\n' | grep -m 1 -E '^[0-9.]+\+cpu$' || true
}

# PyPI's torch for Linux carries CUDA, some 6 GB with what it pulls in, which a machine without an NVIDIA card cannot use.
install_torch() {
  if "$python" -c 'import torch' 2>/dev/null; then return; fi
  local wanted=${REENACT_TORCH:-} build
  if [ -z "$wanted" ]; then
    wanted=cpu
    if [ "$(uname -s)" != Linux ] || nvidia-smi -L >/dev/null 2>&1; then wanted=default; fi
  fi
  if [ "$wanted" = cpu ]; then
    build=$(configured_cpu_build)
    if [ -n "$build" ]; then
      say "installing torch $build, the CPU build that pip is configured with"
      pip install -qq --no-compile "torch==$build" && return
    fi
    if reachable "$torch_index"; then
      say "installing the CPU build of torch (about 200 MB)"
      pip install -qq --no-compile --no-deps --index-url "$torch_index" torch && return
    fi
    say "no CPU build of torch within reach; taking the package index's own, which on Linux carries CUDA (about 6 GB)"
  else
    say "installing torch"
  fi
  pip install -qq --no-compile torch
}

# The requirements in pyproject.toml with those of the extras, less the two that the named commands do without.
light_requirements() {
  "$python" - "$root/pyproject.toml" "$headless" "$@" <<'PY'
import re
import sys

try:
    import tomllib
except ImportError:  # Python 3.10: pip carries the same parser
    from pip._vendor import tomli as tomllib

path, headless, *extras = sys.argv[1:]
with open(path, "rb") as file:
    project = tomllib.load(file)["project"]
wanted = project["dependencies"] + [one for extra in extras for one in project["optional-dependencies"][extra]]
wanted = [one for one in wanted if re.split(r"[<>=!~ ]", one)[0] not in ("torchvision", "face-alignment")]
if headless == "1":
    wanted = [re.sub(r"^opencv-python\b", "opencv-python-headless", one) for one in wanted]
print("\n".join(wanted))
PY
}

# Nothing that is installed later may take the place of the torch that is there, nor of a torchvision that fits it.
installed_torch() {
  "$python" - <<'PY'
from importlib.metadata import PackageNotFoundError, version

for name in ("torch", "torchvision"):
    try:
        print(f"{name}=={version(name)}")
    except PackageNotFoundError:
        pass
PY
}

# What packages bring along and nothing in them imports, 200 MB: their tests, a second c2pa for Rust programs, torch's
# compiler of protocol buffers, and pip's compiled modules, which pip makes again when it is next used.
prune() {
  local packages name
  for packages in "$venv"/lib/python3*/site-packages; do
    rm -rf "$packages"/torch/test "$packages"/torch/bin/*[Tt]est* "$packages"/torch/bin/protoc* \
      "$packages"/torch/lib/lib*_test.so "$packages"/torch/lib/lib{backend_with_compiler,aoti_custom_ops}.so \
      "$packages"/c2pa/libs/*.rlib "$packages"/pandas/tests
    for name in sympy numpy networkx fsspec; do
      if [ -d "$packages/$name" ]; then find "$packages/$name" -type d -name tests -prune -exec rm -rf {} +; fi
    done
    if [ -d "$packages/pip" ]; then find "$packages/pip" -type d -name __pycache__ -prune -exec rm -rf {} +; fi
  done
}

fingerprint() {
  cat "$root/pyproject.toml" "$root/src/fewshot_reenact/_version.py" "$root/scripts/setup.sh" | cksum
  printf '%s %s %s\n' "$root" "$full" "$headless"
}

if [ -x "$venv/bin/python" ] && ! "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
  say "the environment in $venv no longer works; making it again"
  rm -f "$venv"/reenact-setup*
  make_venv
elif [ ! -x "$venv/bin/python" ]; then
  if [ -d "$venv" ] && [ -n "$(ls -A "$venv")" ] && [ ! -f "$venv/pyvenv.cfg" ]; then
    fail "$venv is not an environment and not empty; name another folder: REENACT_VENV=DIR"
  fi
  make_venv
fi
python=$venv/bin/python

stamps=("$venv/reenact-setup")
for extra in "$@"; do stamps+=("$venv/reenact-setup-$extra"); done
now=$(fingerprint) current=1
for stamp in "${stamps[@]}"; do
  if [ "$(cat "$stamp" 2>/dev/null)" != "$now" ]; then current=0; fi
done
if [ $current = 0 ]; then
  started=$SECONDS
  rm -f "${stamps[@]}"
  install_torch
  kept=$venv/reenact-constraints.txt
  installed_torch >"$kept"
  if [ "$full" = 1 ]; then
    say "installing the package and all its dependencies${1:+, with the extras $*}"
    pip install -qq --no-compile -c "$kept" -e "$root${1:+[$(IFS=,; echo "$*")]}"
  else
    say "installing the package and its dependencies${1:+, with the extras $*}, less torchvision and face-alignment (REENACT_FULL=1 for those)"
    # Not there while pip installs the rest, or it would complain of the two that are left out.
    pip uninstall -qq -y fewshot-reenact
    light_requirements "$@" >"$venv/reenact-requirements.txt"
    pip install -qq --no-compile -c "$kept" -r "$venv/reenact-requirements.txt"
    pip install -qq --no-compile --no-deps -e "$root"
  fi
  prune
  "$python" -B -c 'import torch, cv2, av, c2pa, fewshot_reenact' ||
    fail "the environment in $venv does not work; delete it and run this again"
  for stamp in "${stamps[@]}"; do printf '%s\n' "$now" >"$stamp"; done
  say "ready after $((SECONDS - started)) s, $(du -sm "$venv" | cut -f1) MB"
fi
printf '%s\n' "$python"
