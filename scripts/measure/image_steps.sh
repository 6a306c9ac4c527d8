#!/usr/bin/env bash
# Takes the steps of scripts/image/Dockerfile in a bare Debian in a temporary folder, where there is no docker engine: the steps are
# read from that file, so the two cannot differ. Then, as the image's user: animate, verify, the page, its health check, the size.
#
#   scripts/measure/image_steps.sh                   all of it; needs root, debootstrap and 3 GB, and takes minutes
#   scripts/measure/image_steps.sh --base DIR        a copy of this bare Debian in place of debootstrap's
#   scripts/measure/image_steps.sh TORCH=default     build arguments, as docker's --build-arg
#
# apt and pip in there reach what they reach on this machine: its name servers, certificates, proxies, and pip's configuration with
# the folders that it names are lent for as long as this runs. What is lent is not counted in the size.
#
#   REENACT_IMAGE_PORT=7868  where the page is tried (default: the port that the Dockerfile exposes)
set -euo pipefail

case ${1:-} in -h | --help)
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"
  exit 0
  ;;
esac
most=1500 # MB
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
recipe=$root/scripts/image/Dockerfile
say() { printf 'image_steps: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
[ "$(id -u)" = 0 ] || fail "needs root, to change the root folder; run it with sudo"
# In mounts and processes of its own: both are gone when it ends, however it ends.
if [ -z "${IMAGE_STEPS_INSIDE:-}" ]; then
  IMAGE_STEPS_INSIDE=1 exec unshare --mount --pid --fork --kill-child -- "$0" "$@"
fi
base=
declare -A given=() arguments=() environment=([PATH]=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
while [ $# -gt 0 ]; do
  case $1 in
    --base) base=${2:?--base wants a folder} && shift ;;
    [A-Z]*=*) given[${1%%=*}]=${1#*=} ;;
    *) say "$1 is not known; see --help" && exit 2 ;;
  esac
  shift
done
work=$(mktemp -d)
image=$work/image
lent=() lent_folders=()
leave() {
  local place
  for place in "${lent_folders[@]}" "$image"/{dev/shm,dev,proc}; do umount -l "$place" 2>/dev/null || true; done
  if mountpoint -q "$image/dev" || mountpoint -q "$image/proc"; then return; fi # nothing of this machine is ever removed
  rm -rf --one-file-system "$work"
}
trap leave EXIT
started=$SECONDS

# ---- the bare Debian

begin_from() { # debian:bookworm-slim
  local suite=${1#debian:}
  suite=${suite%-slim}
  [ "debian:$suite" != "$1" ] || [ "$1" != "${1#debian:}" ] || fail "FROM $1: only Debian's own images can be followed here"
  if [ -n "$base" ]; then
    cp -a "$base" "$image"
  else
    command -v debootstrap >/dev/null || fail "needs debootstrap; on Debian and Ubuntu: apt install debootstrap"
    say "debootstrap $suite"
    debootstrap --variant=minbase "$suite" "$image" http://deb.debian.org/debian >"$work/base.log" 2>&1 ||
      { tail -n 5 "$work/base.log" >&2 && fail "no bare Debian could be made"; }
  fi
  # What Debian's slim images do without as well.
  rm -rf "$image"/usr/share/{doc,man,info,locale,lintian}/* "$image"/var/lib/apt/lists/* "$image"/var/cache/apt/*
  mount --rbind /dev "$image/dev"
  mount --make-rslave "$image/dev"
  mount -t proc proc "$image/proc"
  lend_network
}

# What pip and apt need to reach their indexes as this machine does.
lend_network() {
  local value place name
  cp /etc/resolv.conf "$image/etc/resolv.conf"
  printf '127.0.0.1 localhost\n::1 localhost\n' >"$image/etc/hosts" # as an engine does
  mkdir -p "$image/lent"
  if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
    cp /etc/ssl/certs/ca-certificates.crt "$image/lent/certificates.crt"
    for name in PIP_CERT SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE; do lent+=("$name=/lent/certificates.crt"); done
  fi
  for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY PIP_DEFAULT_TIMEOUT; do
    if [ -n "${!name:-}" ]; then lent+=("$name=${!name}"); fi
  done
  python3 -m pip config list 2>/dev/null | sed -n "s/^global\.\([a-z-]*\)='\(.*\)'$/\1 = \2/p" | grep -v '^cert ' |
    sed '1i [global]' >"$image/lent/pip.conf"
  lent+=("PIP_CONFIG_FILE=/lent/pip.conf")
  # The files and folders that it names, the same as in here.
  sed 's/^[a-z-]* = //' "$image/lent/pip.conf" | tr ' ' '\n' | sed -n 's|^file://||; \|^/|p' | sort -u >"$work/places"
  while read -r value; do
    place=$value
    while [ ! -e "$place" ]; do place=$(dirname "$place"); done
    if [ "$(basename "$place")" = simple ]; then place=$(dirname "$place"); fi # its files lie beside it
    if [ "$place" = / ] || mountpoint -q "$image$place"; then continue; fi
    if [ -d "$place" ]; then mkdir -p "$image$place"; else mkdir -p "$image$(dirname "$place")" && touch "$image$place"; fi
    mount --bind -o ro "$place" "$image$place"
    lent_folders+=("$image$place")
  done <"$work/places"
}

# ---- the steps

user=0:0 folder=/
how= # exec, where the shell itself is to become the command
within() { # the command's words
  local name words=()
  for name in "${!environment[@]}"; do words+=("$name=${environment[$name]}"); done
  # $HOME of the user, which docker sets too.
  name=$(awk -F: -v id="${user%:*}" '$3 == id {print $6}' "$image/etc/passwd")
  words+=("HOME=${name:-/}")
  $how chroot --userspec="$user" --groups= "$image" /usr/bin/env -i "${words[@]}" "${extra[@]}" \
    /bin/sh -c 'cd "$1" && shift && exec "$@"' sh "$folder" "$@"
}
extra=()

step_run() {
  local name
  extra=("${lent[@]}")
  for name in "${!arguments[@]}"; do extra+=("$name=${arguments[$name]}"); done
  within /bin/sh -c "$1"
  extra=()
}

# Only what the ignore file lets through: lines with ! name what goes in, the others what does not.
step_copy() {
  local words source target ignored=()
  read -r -a words <<<"$1"
  target=${words[-1]}
  while read -r source; do ignored+=("--exclude=${source#'**/'}"); done < <(grep -vE '^(#|!|\*$|$)' "$recipe.dockerignore")
  for source in "${words[@]::${#words[@]}-1}"; do
    grep -vE '^#' "$recipe.dockerignore" | sed -n 's/^!//p' |
      while read -r name; do if [[ "$source/" == "$name"/* ]]; then echo let; fi; done | grep -q let ||
      fail "COPY $source: $recipe.dockerignore keeps it out"
    if [ -d "$root/$source" ]; then
      mkdir -p "$image$target"
      tar -C "$root/$source" "${ignored[@]}" --owner=0 --group=0 -cf - . | tar -C "$image$target" -xf -
    elif [[ "$target" == */ ]]; then
      install -D -m "$(stat -c %a "$root/$source")" "$root/$source" "$image$target$(basename "$source")"
    else
      install -D -m "$(stat -c %a "$root/$source")" "$root/$source" "$image$target"
    fi
  done
}

# NAME=value NAME="several words", as ENV and ARG have them.
pairs() { python3 -c 'import shlex, sys; print("\n".join(shlex.split(sys.argv[1])))' "$1"; }
# ["a", "b"], a line each.
listed() { python3 -c 'import json, sys; print("\n".join(json.loads(sys.argv[1])))' "$1"; }

health= entry=() standard=() volumes=() port=7860
take() { # an instruction and what follows it
  local pair
  case $1 in
    FROM) begin_from "$2" ;;
    ARG) while read -r pair; do arguments[${pair%%=*}]=${given[${pair%%=*}]-${pair#*=}}; done < <(pairs "$2") ;;
    ENV) while read -r pair; do environment[${pair%%=*}]=${pair#*=}; done < <(pairs "$2") ;;
    RUN) step_run "$2" ;;
    COPY) step_copy "$2" ;;
    USER) user=$(awk -F: -v name="$2" '$1 == name {print $3 ":" $4}' "$image/etc/passwd") && [ -n "$user" ] || fail "no user $2" ;;
    WORKDIR) folder=$2 && mkdir -p "$image$2" ;;
    VOLUME) volumes+=("$2") ;;
    EXPOSE) port=$2 ;;
    HEALTHCHECK) health=${2#*CMD } ;;
    ENTRYPOINT) mapfile -t entry < <(listed "$2") ;;
    CMD) mapfile -t standard < <(listed "$2") ;;
    *) fail "$1 is not known here" ;;
  esac
}

while read -r instruction rest <&3; do
  say "$instruction ${rest:0:120}"
  before=$SECONDS
  take "$instruction" "$rest"
  if [ $((SECONDS - before)) -gt 2 ]; then say "  $((SECONDS - before)) s"; fi
done 3< <(sed -e '/^[[:space:]]*#/d' -e '/^[[:space:]]*$/d' "$recipe" | sed -e ':join' -e '/\\$/{N;s/[[:space:]]*\\\n[[:space:]]*/ /;b join' -e '}')
say "built after $((SECONDS - started)) s"

# ---- what is in it works, without what was lent

for place in "${lent_folders[@]}"; do umount -l "$place"; done
lent=() lent_folders=()
rm -rf --one-file-system "$image/lent"
[ "${user%:*}" != 0 ] || fail "it would run as root"
for place in "${volumes[@]}"; do within test -w "$place" || fail "$place cannot be written by the user"; done
! within touch /opt/mine 2>/dev/null || fail "the user can write where the program lies"

size=$(du -xsm "$image" | cut -f1)
parts=$(cd "$image" && du -xsm usr opt/venv opt/fewshot-reenact var | tr '\n\t' ', ')
say "$size MB (at most $most): $parts"
[ "$size" -le $most ] || [ "${arguments[TORCH]:-cpu}" != cpu ] || fail "larger than $most MB"

portrait=$(within python -c 'import fewshot_reenact, pathlib; print(pathlib.Path(fewshot_reenact.__file__).parent / "assets" / "astronaut.jpg")')
within "${entry[@]}" --version
before=$SECONDS
within "${entry[@]}" animate "$portrait" motion:blink -o blink.mp4 --accept-use
say "animate took $((SECONDS - before)) s"
within "${entry[@]}" verify blink.mp4
[ -n "$(within ls /config)" ] || fail "no key and no history is in /config"

# As docker's --user: one whom the image does not know, in a folder of theirs.
mkdir "$image/work/theirs" && chown 12345:12345 "$image/work/theirs"
(
  user=12345:12345 folder=/work/theirs extra=(REENACT_CONFIG=/work/theirs/.reenact)
  within "${entry[@]}" animate "$portrait" motion:blink --end 0.2 -o blink.mp4 --accept-use && [ -n "$(within ls -A .reenact)" ]
) || fail "another user cannot use it"

if [ -n "${REENACT_IMAGE_PORT:-}" ]; then
  standard+=(--port "$REENACT_IMAGE_PORT")
  health=${health//$port/$REENACT_IMAGE_PORT}
fi
! within /bin/sh -c "$health" 2>/dev/null || fail "the health check passes before the page is there"
! within "${entry[@]}" "${standard[@]}" </dev/null 2>"$work/refused" || fail "the page starts without a password"
say "without a password: $(tail -n 1 "$work/refused")"
before=$SECONDS
(
  how=exec extra=(REENACT_UI_PASSWORD=tried)
  within "${entry[@]}" "${standard[@]}" >"$work/page.log" 2>&1 </dev/null
) &
page=$!
until within /bin/sh -c "$health" 2>/dev/null; do
  kill -0 $page 2>/dev/null || { cat "$work/page.log" >&2 && fail "the page ended"; }
  [ $((SECONDS - before)) -lt 60 ] || { cat "$work/page.log" >&2 && fail "the page is not healthy after 60 s"; }
  sleep 1
done
say "the page is healthy after $((SECONDS - before)) s"
kill -TERM $page
wait $page || say "SIGTERM ended it with exit code $?"
say "ok, $size MB, $((SECONDS - started)) s in all"
