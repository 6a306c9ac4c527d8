#!/usr/bin/env bash
# Builds the documentation as a site from docs/ and from today's code, with strict links; or the man pages. Nothing that is
# committed changes.
#
#   scripts/docs.sh              the site, in out/site/html: open index.html there
#   scripts/docs.sh serve        the same on http://127.0.0.1:8000, until Ctrl-C
#   scripts/docs.sh man          man pages in out/man: man -l out/man/reenact-animate.1
set -euo pipefail

case ${1:-} in -h | --help)
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"
  exit 0
  ;;
esac
what=${1:-build}
if [ "$what" != build ] && [ "$what" != serve ] && [ "$what" != man ]; then
  echo "docs: $what is not known: build, serve or man; see --help" >&2
  exit 2
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$("$root/scripts/setup.sh" docs)
cd "$root"
if [ "$what" = man ]; then
  exec "$python" scripts/build/make_site.py --man out/man
fi
"$python" scripts/build/make_site.py out/site/pages
export NO_MKDOCS_2_WARNING=1
if [ "$what" = serve ]; then
  exec "$python" -m mkdocs serve --strict --config-file docs/mkdocs.yml --dev-addr 127.0.0.1:8000
fi
# Not --quiet: what is not said is not counted either, and --strict finds nothing.
"$python" -m mkdocs build --strict --config-file docs/mkdocs.yml
echo "$root/out/site/html/index.html"
