# SPDX-License-Identifier: Apache-2.0
# What Penstock stands on. Included by the build and by the installed penstockConfig.cmake, so that
# the two cannot differ.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
find_dependency(Boost 1.81 COMPONENTS filesystem)
find_dependency(cereal)
find_dependency(fmt)
find_dependency(nlohmann_json)
find_dependency(PkgConfig)

# libraries that come with pkg-config only: one target each
if(NOT TARGET PkgConfig::penstock_xxhash)
  pkg_check_modules(penstock_xxhash REQUIRED QUIET IMPORTED_TARGET GLOBAL libxxhash)
endif()
if(NOT TARGET PkgConfig::penstock_zstd)
  pkg_check_modules(penstock_zstd REQUIRED QUIET IMPORTED_TARGET GLOBAL libzstd)
endif()

if(PENSTOCK_ROCKSDB)
  find_dependency(RocksDB)
endif()

if(NOT PENSTOCK_SDK)
  return()
endif()
find_dependency(spdlog)

# librdkafka: package configuration first (its own CMake build), pkg-config second (Debian)
if(NOT TARGET penstock_rdkafka)
  find_package(RdKafka QUIET)
  add_library(penstock_rdkafka INTERFACE IMPORTED GLOBAL)
  if(TARGET RdKafka::rdkafka)
    target_link_libraries(penstock_rdkafka INTERFACE RdKafka::rdkafka)
  else()
    pkg_check_modules(penstock_rdkafka_pc REQUIRED QUIET IMPORTED_TARGET GLOBAL rdkafka>=2.0.2)
    target_link_libraries(penstock_rdkafka INTERFACE PkgConfig::penstock_rdkafka_pc)
  endif()
endif()
