#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: run.sh installed|subproject SOURCE BUILD WORK CXX_COMPILER
# Builds tests/consumer, runs it, and checks what was installed:
#   installed   against what the build tree BUILD installs
#   subproject  with Penstock as a part of it, as shared libraries; then against what that installs
#               when asked to
set -euo pipefail
mode="$1" source="$2" build="$3" work="$4" compiler="$5"
version="$(sed -n 's/^project(penstock VERSION \([0-9.]*\).*/\1/p' "$source/CMakeLists.txt")"
configure=(cmake -G Ninja "-DCMAKE_CXX_COMPILER=$compiler" -DCMAKE_CXX_FLAGS=-O0
  -DCMAKE_UNITY_BUILD=ON)
! command -v ccache >/dev/null || configure+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)

fail() {
  echo "$*"
  exit 1
}

# runs BUILD: the consumer built there works
runs() {
  [ "$("$1/consumer" "$work/data-$(basename "$1")")" = "penstock $version" ]
}

rm -rf "$work"
mkdir -p "$work"
case "$mode" in
  installed) ;;
  subproject)
    build="$work/whole"
    "${configure[@]}" -S "$source/tests/consumer" -B "$build" "-DPENSTOCK_SOURCE=$source" \
      -DBUILD_SHARED_LIBS=ON -DCMAKE_EXPORT_COMPILE_COMMANDS=ON
    ! grep -e -Werror "$build/compile_commands.json" ||
      fail "a subproject must not turn the user's warnings into errors"
    ! grep -E "$source/(tests/[^c]|samples|bench)" "$build/compile_commands.json" ||
      fail "a subproject must not build our tests, samples and benchmarks"
    cmake --build "$build"
    runs "$build"
    cmake --install "$build" --prefix "$work/nothing"
    [ ! -e "$work/nothing" ] || fail "a subproject must not install unless asked to"
    cmake -DPENSTOCK_INSTALL=ON "$build"
    cmake --build "$build" ;;  # links again, for the places it is installed to
  *) fail "unknown mode $mode" ;;
esac

cmake --install "$build" --prefix "$work/prefix" > "$work/install.log"
! grep -rE "(^|[\"; =])($source|$build)/" "$work/prefix" --include='*.cmake' ||
  fail "the installed package names the source or build tree"
# moved, because a package must not depend on the place it was first installed to
mv "$work/prefix" "$work/moved"
"${configure[@]}" -S "$source/tests/consumer" -B "$work/build" "-DCMAKE_PREFIX_PATH=$work/moved"
cmake --build "$work/build"
runs "$work/build"
"$work/moved/bin/penstock" --version | grep -F "$version" || fail "the command is not installed"
[ -f "$work/moved/share/doc/penstock/LICENSE" ] || fail "the licence is not installed"
