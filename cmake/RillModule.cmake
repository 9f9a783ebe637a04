# Flags that every target shares, and rill_module(): one static library per folder of src/.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

find_program(RILL_CCACHE ccache)
if(RILL_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${RILL_CCACHE})
endif()

add_library(rill_flags INTERFACE)
target_include_directories(rill_flags INTERFACE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
# -ffp-contract=off: the numerics contract; a fused multiply-add is written where one is meant.
target_compile_options(rill_flags INTERFACE
  -Wall -Wextra -Wno-psabi -ffp-contract=off -fno-math-errno
  -fstack-protector-strong -fvisibility=hidden
  # GCC 12 warns of overlap inside std::string's operator+ (GCC bug 105651).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  # libstdc++ 12's std::stable_sort calls its own deprecated function; g++ still warns of ours.
  $<$<CXX_COMPILER_ID:Clang>:-Wno-deprecated-declarations>
  $<$<BOOL:${RILL_WERROR}>:-Werror>)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_compile_options(rill_flags INTERFACE -fcf-protection)
endif()
target_link_options(rill_flags INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)
if(NOT RILL_SANITIZE)
  # Needs optimisation; the sanitizers check more.
  target_compile_options(rill_flags INTERFACE $<$<CONFIG:Release>:-D_FORTIFY_SOURCE=2>)
endif()
if(RILL_SANITIZE)
  target_compile_options(rill_flags INTERFACE
    -fsanitize=${RILL_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -g1)
  target_compile_definitions(rill_flags INTERFACE RILL_SANITIZED)
  target_link_options(rill_flags INTERFACE -fsanitize=${RILL_SANITIZE})
endif()
if(RILL_FUZZ)
  target_compile_options(rill_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# What is not on the way of a token is compiled for the compiler's sake: -O3 doubles the time that
# GoogleTest's and CLI11's templates take.
set(RILL_COLD_CODE $<$<CONFIG:Release>:-O1>)

# Linked by every test binary.
if(RILL_TESTS)
  find_package(GTest REQUIRED)
  add_library(rill_test_support STATIC ${CMAKE_SOURCE_DIR}/tests/source_dir.cc)
  set_source_files_properties(${CMAKE_SOURCE_DIR}/tests/source_dir.cc PROPERTIES
    COMPILE_DEFINITIONS RILL_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_link_libraries(rill_test_support PRIVATE rill_flags
    INTERFACE GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_options(rill_test_support INTERFACE ${RILL_COLD_CODE})
endif()

# rill_module(name DEPS ...): library rill_<name> from src/<name>/**.cc, and, from
# src/<name>/**_test.cc, one test binary rill_<name>_test.
function(rill_module name)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  if(NOT sources)
    add_library(rill_${name} INTERFACE)
    target_link_libraries(rill_${name} INTERFACE rill_flags ${ARG_DEPS})
    return()
  endif()
  add_library(rill_${name} STATIC ${sources})
  target_link_libraries(rill_${name} PUBLIC rill_flags ${ARG_DEPS})
  if(RILL_TESTS AND tests)
    add_executable(rill_${name}_test ${tests})
    target_link_libraries(rill_${name}_test PRIVATE rill_${name} rill_test_support)
    add_test(NAME ${name} COMMAND rill_${name}_test)
  endif()
endfunction()
