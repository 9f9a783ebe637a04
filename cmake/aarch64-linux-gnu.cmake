# Cross build for 64-bit Arm Linux on Debian: g++-aarch64-linux-gnu, libraries unpacked by
# tools/aarch64_sysroot.sh (RILL_AARCH64_SYSROOT says where), tests run under qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)

if(NOT RILL_AARCH64_SYSROOT)
  if(DEFINED ENV{RILL_AARCH64_SYSROOT})
    set(RILL_AARCH64_SYSROOT $ENV{RILL_AARCH64_SYSROOT})
  else()
    set(RILL_AARCH64_SYSROOT ${CMAKE_CURRENT_LIST_DIR}/../build/aarch64-sysroot)
  endif()
endif()
get_filename_component(RILL_AARCH64_SYSROOT ${RILL_AARCH64_SYSROOT} ABSOLUTE)
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES RILL_AARCH64_SYSROOT)

# RILL_CROSS_CLANG=ON: clang 19 with the same libraries.
if(RILL_CROSS_CLANG)
  set(CMAKE_CXX_COMPILER clang++-19)
  set(CMAKE_CXX_COMPILER_TARGET aarch64-linux-gnu)
else()
  set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
endif()

set(CMAKE_FIND_ROOT_PATH ${RILL_AARCH64_SYSROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(ENV{PKG_CONFIG_LIBDIR}
    ${RILL_AARCH64_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${RILL_AARCH64_SYSROOT}/usr/share/pkgconfig)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${RILL_AARCH64_SYSROOT})

# Libraries that libraries need are found here, at link time and by qemu's loader (-L).
set(library_path
    ${RILL_AARCH64_SYSROOT}/usr/lib/aarch64-linux-gnu:${RILL_AARCH64_SYSROOT}/lib/aarch64-linux-gnu)
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,-rpath-link,${library_path}")
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -cpu max -L ${RILL_AARCH64_SYSROOT})
# Tests start under qemu without the build's own paths in them.
set(CMAKE_SKIP_RPATH ON)
