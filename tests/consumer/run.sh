#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: run.sh installed|shared|subproject SOURCE BUILD WORK CXX_COMPILER
# Installs Penstock and builds tests/consumer against what was installed:
#   installed   the build tree BUILD, as it is
#   shared      a build of its own with shared libraries
# or checks that as a subproject it brings neither its strictness nor its tests along.
set -euo pipefail
mode="$1" source="$2" build="$3" work="$4" compiler="$5"
version="$(sed -n 's/^project(penstock VERSION \([0-9.]*\).*/\1/p' "$source/CMakeLists.txt")"
configure=(cmake -G Ninja "-DCMAKE_CXX_COMPILER=$compiler" -DCMAKE_CXX_FLAGS=-O0)

rm -rf "$work"
mkdir -p "$work"
case "$mode" in
  subproject)
    "${configure[@]}" -S "$source/tests/consumer" -B "$work/build" "-DPENSTOCK_SOURCE=$source" \
      -DCMAKE_EXPORT_COMPILE_COMMANDS=ON
    if grep -e -Werror "$work/build/compile_commands.json"; then
      echo "a subproject must not turn the user's warnings into errors"; exit 1
    fi
    if grep -E "$source/(tests/[^c]|samples|bench)" "$work/build/compile_commands.json"; then
      echo "a subproject must not build our tests, samples and benchmarks"; exit 1
    fi
    exit 0 ;;
  shared)
    build="$work/shared"
    "${configure[@]}" -S "$source" -B "$build" -DBUILD_SHARED_LIBS=ON -DPENSTOCK_TESTS=OFF \
      -DPENSTOCK_SAMPLES=OFF -DPENSTOCK_BENCH=OFF
    cmake --build "$build" ;;
  installed) ;;
  *) echo "unknown mode $mode"; exit 2 ;;
esac

cmake --install "$build" --prefix "$work/prefix" > "$work/install.log"
if grep -rE "(^|[\"; =])($source|$build)/" "$work/prefix" --include='*.cmake'; then
  echo "the installed package names the source or build tree"; exit 1
fi
# moved, because a package must not depend on the place it was first installed to
mv "$work/prefix" "$work/moved"
"${configure[@]}" -S "$source/tests/consumer" -B "$work/build" "-DCMAKE_PREFIX_PATH=$work/moved"
cmake --build "$work/build"
[ "$("$work/build/consumer" "$work/data")" = "penstock $version" ]
if [ -e "$work/moved/bin/penstock" ]; then
  "$work/moved/bin/penstock" --version | grep -F "$version"
fi
