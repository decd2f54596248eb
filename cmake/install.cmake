# SPDX-License-Identifier: Apache-2.0
# `cmake --install` and what find_package(penstock) reads.
include(CMakePackageConfigHelpers)

set(penstock_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/penstock)
set(libraries penstock_state)
if(PENSTOCK_SDK)
  list(APPEND libraries penstock_sdk)
endif()
install(
  TARGETS ${libraries}
  EXPORT penstockTargets
  FILE_SET HEADERS)
if(PENSTOCK_COMMAND)
  set_target_properties(penstock PROPERTIES INSTALL_RPATH $ORIGIN/../${CMAKE_INSTALL_LIBDIR})
  install(TARGETS penstock)
endif()
install(EXPORT penstockTargets NAMESPACE penstock:: DESTINATION ${penstock_cmake_dir})

configure_package_config_file(
  cmake/penstockConfig.cmake.in ${PROJECT_BINARY_DIR}/penstockConfig.cmake
  INSTALL_DESTINATION ${penstock_cmake_dir})
write_basic_package_version_file(
  ${PROJECT_BINARY_DIR}/penstockConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(
  FILES ${PROJECT_BINARY_DIR}/penstockConfig.cmake ${PROJECT_BINARY_DIR}/penstockConfigVersion.cmake
        cmake/penstockDependencies.cmake
  DESTINATION ${penstock_cmake_dir})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/penstock)
