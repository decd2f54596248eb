# SPDX-License-Identifier: Apache-2.0
# Flags of this build only: an interface target that is linked privately and never exported.
add_library(penstock_build_flags INTERFACE)
target_compile_features(penstock_build_flags INTERFACE cxx_std_20)
target_compile_options(
  penstock_build_flags INTERFACE -Wall -Wextra -Wshadow -Wconversion -Wnon-virtual-dtor)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 sees overlaps in "text" + std::string that are not there (its bug 105651), and at -O3
  # uninitialised strings inside std::optional and std::variant (its bug 105562)
  target_compile_options(
    penstock_build_flags INTERFACE -Wno-restrict $<$<CONFIG:Release>:-Wno-maybe-uninitialized>)
endif()
if(PENSTOCK_SANITIZER)
  # instrumentation hides initialisations: GCC then warns about the standard library itself
  target_compile_options(penstock_build_flags INTERFACE -Wno-maybe-uninitialized)
endif()

if(CMAKE_UNITY_BUILD)
  # a type of one source looks like a header's
  target_compile_options(
    penstock_build_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
endif()

if(PENSTOCK_WERROR)
  target_compile_options(penstock_build_flags INTERFACE -Werror)
endif()
if(PROJECT_IS_TOP_LEVEL)
  find_program(CCACHE_PROGRAM ccache)
  if(CCACHE_PROGRAM AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
    # tests have precompiled headers, which ccache takes with these settings only
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
                                    CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE_PROGRAM})
    target_compile_options(
      penstock_build_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
  endif()
  find_program(MOLD_PROGRAM mold)
  if(MOLD_PROGRAM)
    target_link_options(penstock_build_flags INTERFACE -fuse-ld=mold)
  endif()
endif()

if(PENSTOCK_SANITIZER STREQUAL "thread")
  # GCC 12's ThreadSanitizer knows the memory map of a kernel with less randomised addresses. ctest
  # runs (and lists) tests behind this launcher; what they start inherits it.
  execute_process(COMMAND setarch -R true RESULT_VARIABLE cannot OUTPUT_QUIET ERROR_QUIET)
  if(NOT cannot AND NOT DEFINED CMAKE_CROSSCOMPILING_EMULATOR)
    set(CMAKE_CROSSCOMPILING_EMULATOR setarch -R)
  endif()
endif()

# penstock_library(NAME): the library of this folder, from src/**.cpp; include/**.h is public.
function(penstock_library name)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS src/*.cpp src/*.h)
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS include/*.h)
  add_library(penstock_${name} ${sources})
  add_library(penstock::${name} ALIAS penstock_${name})
  target_sources(
    penstock_${name} PUBLIC FILE_SET HEADERS BASE_DIRS include FILES ${headers})
  target_include_directories(penstock_${name} PRIVATE src)
  target_compile_features(penstock_${name} PUBLIC cxx_std_20)
  target_link_libraries(penstock_${name} PRIVATE $<BUILD_INTERFACE:penstock_build_flags>)
  set_target_properties(
    penstock_${name}
    PROPERTIES EXPORT_NAME ${name}
               POSITION_INDEPENDENT_CODE ON
               VERIFY_INTERFACE_HEADER_SETS ON
               INSTALL_RPATH $ORIGIN
               VERSION ${PROJECT_VERSION}
               SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
endfunction()
