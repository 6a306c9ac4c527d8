#!/usr/bin/env bash
# Runs the fast tests with the lowest versions that pyproject.toml admits and with the newest, in every Python that is
# here from 3.10 on. Each combination has an environment of its own, which is removed afterwards.
#
#   scripts/measure/matrix.sh                         all Pythons, lowest and highest
#   scripts/measure/matrix.sh lowest -k motion        one of the two; other arguments go to pytest
#
# Only what `animate` and its like need is installed (as by scripts/setup.sh), with torchmetrics and pytest: the tests of
# other extras are skipped. uv resolves and installs; it is taken from the index where it is not there.
#
#   REENACT_MATRIX_PYTHONS="3.10 3.13"   which Pythons (default: those of 3.10 to 3.14 that are here)
#   UV_TORCH_BACKEND=cpu|auto|...        which build of torch (default: cpu, where PyTorch's own index answers)
set -euo pipefail

case ${1:-} in -h | --help)
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"
  exit 0
  ;;
esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
sets="lowest highest"
case ${1:-} in lowest | highest)
  sets=$1
  shift
  ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset PYTHONDONTWRITEBYTECODE
export OMP_WAIT_POLICY=passive

if ! command -v uv >/dev/null; then
  python3 -m venv "$work/tools"
  "$work/tools/bin/python" -m pip install -qq uv
  PATH="$work/tools/bin:$PATH"
fi
if [ -z "${UV_TORCH_BACKEND:-}" ] && curl -sf -m 6 -o "$work/torch.html" https://download.pytorch.org/whl/cpu/torch/; then
  export UV_TORCH_BACKEND=cpu
fi
pythons=${REENACT_MATRIX_PYTHONS:-}
if [ -z "$pythons" ]; then
  for minor in 10 11 12 13 14; do
    # Asked for its version: a manager of versions puts names there that do not run.
    if "python3.$minor" --version >/dev/null 2>&1; then pythons="$pythons 3.$minor"; fi
  done
fi
if [ -z "$pythons" ]; then
  echo "matrix: no python3.10 or newer is here; install one, or name it: REENACT_MATRIX_PYTHONS" >&2
  exit 2
fi

# The package's requirements and torchmetrics', less the two that scripts/setup.sh leaves out.
sed -n '/^dependencies = \[/,/^\]/s/^ *"\(.*\)",$/\1/p' "$root/pyproject.toml" |
  grep -vE '^(torchvision|face-alignment)\b' >"$work/wanted.in"
sed -n 's/^evaluate = \["\(.*\)"\]$/\1/p' "$root/pyproject.toml" >>"$work/wanted.in"

failed=()
for version in $pythons; do
  for set in $sets; do
    name="python $version, $set versions"
    resolution=$([ "$set" = lowest ] && echo lowest-direct || echo highest)
    venv=$work/venv
    rm -rf "$venv"
    echo "== $name" >&2
    python=$venv/bin/python
    if ! uv venv -q --no-python-downloads --python "$(command -v "python$version")" "$venv" ||
      ! uv pip compile -q --no-header --no-annotate --resolution "$resolution" --python "$python" \
      "$work/wanted.in" -o "$work/wanted.txt" >/dev/null ||
      ! uv pip install -q --python "$python" -r "$work/wanted.txt" 'pytest>=8' 'pytest-xdist>=3.6' 'setuptools>=77' ||
      ! uv pip install -q --python "$python" --no-deps --no-build-isolation -e "$root"; then
      failed+=("$name: could not be installed")
      continue
    fi
    grep -E '^(torch|numpy|opencv-python|av|pillow|click|pydantic)==' "$work/wanted.txt" | paste -sd' ' >&2
    (cd "$root" && "$python" -m pytest -q -n 2 --dist worksteal -p no:cacheprovider -m "not slow and not browser" "$@") ||
      failed+=("$name")
  done
done
if [ ${#failed[@]} -gt 0 ]; then
  printf 'matrix: failed: %s\n' "${failed[@]}" >&2
  exit 1
fi
echo "matrix: passed:$pythons, $sets"
