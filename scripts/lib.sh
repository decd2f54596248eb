#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the scripts share; to be sourced. Progress goes to standard error, results to standard
# output.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export LC_ALL=C.UTF-8

say() { printf '== %s\n' "$*" >&2; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# What an application would read from the caller's environment is not to change what ours does.
for variable in "${!PENSTOCK_@}"; do
  case "$variable" in
    PENSTOCK_CACHE | PENSTOCK_FAULT_* | PENSTOCK_TEST_*) ;;
    *) unset "$variable" ;;
  esac
done

sections() { sed -n 's/^\[\(.*\)\]$/\1/p' "$root/scripts/packages.txt"; }

# packages SECTION...: the names in these sections of packages.txt
packages() {
  awk -v wanted=" $* " '
    /^\[/ { section = substr($0, 2, length($0) - 2); next }
    /^[a-z0-9]/ && index(wanted, " " section " ") { print $1 }' "$root/scripts/packages.txt"
}

# ensure_packages SECTION...: installs what is missing; quiet when nothing is
ensure_packages() {
  local wanted missing log as_root=()
  wanted="$(packages "$@")"
  # What stands once is missing. No <( ), which needs /dev/fd: a bare chroot may lack it.
  # shellcheck disable=SC2086
  missing="$({
    printf '%s\n' $wanted
    # fails when it has never heard of one
    { dpkg-query -W -f='${db:Status-Status} ${Package}\n' $wanted 2>/dev/null || :; } |
      sed -n 's/^installed //p'
  } | sort | uniq -u)"
  [ -n "$missing" ] || return 0

  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "not root, and no sudo; install these first:" $missing
    as_root=(sudo)
  fi
  say "installing $(wc -w <<<"$missing") packages of scripts/packages.txt and what they need"
  log="$(mktemp)"
  # shellcheck disable=SC2086
  if ! { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y \
      --no-install-recommends -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 $missing; } 2>&1 |
    tee "$log" | awk '
      /^Get:/ && ++got % 20 == 0 { print "   downloaded " got (total ? " of " total : " lists") }
      / newly installed/ { got = 0; total = $3; print "   " total " packages to fetch and unpack" }
      /^Unpacking/ && ++unpacked % 20 == 0 { print "   unpacked " unpacked " of " total }
      /^Setting up/ && ++ready % 20 == 0 { print "   set up " ready " of " total }
      { fflush() }' >&2; then
    tail -n 20 "$log" >&2
    die "installing packages failed; the end of its log stands above"
  fi
  rm -f "$log"
  mkdir -p "$root/build"
  touch "$root/build/packages-installed"  # what was configured without them is configured again
}

# build_preset PRESET TARGET...: configures once, then builds; ninja shows its progress. When
# nothing has changed it takes about a second.
build_preset() {
  local preset="$1" directory="$root/build/$1" fresh=() log
  shift
  # a build tree that was copied or moved with the clone cannot be used
  if [ -f "$directory/CMakeCache.txt" ] &&
    ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$directory/CMakeCache.txt"; then
    fresh=(--fresh)
  fi
  if [ ! -f "$directory/build.ninja" ] || [ ${#fresh[@]} -gt 0 ] ||
    [ "$root/build/packages-installed" -nt "$directory/build.ninja" ]; then
    say "configuring build/$preset"
    mkdir -p "$root/build"
    log="$root/build/configure-$preset.log"
    (cd "$root" && cmake "${fresh[@]}" --preset "$preset") >"$log" 2>&1 || {
      cat "$log" >&2
      return 1
    }
  fi
  say "building build/$preset: $*"
  NINJA_STATUS='[%f/%t, %es] ' cmake --build "$directory" -j "$(nproc)" --target "$@" >&2
}

# install_python: README's own block, into build/venv, and what the tests need
install_python() {
  local list blocks
  list="$(/usr/bin/python3 -B "$root/tests/docs/code_blocks.py" README.md sh build/docs)"
  IFS=';' read -r -a blocks <<<"$list"
  sh -eu "$(grep -l 'pip install' "${blocks[@]}")" >&2
  build/venv/bin/pip install -q pytest >&2
}
