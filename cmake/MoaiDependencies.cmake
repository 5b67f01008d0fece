# Every third-party package, all of them Debian's.
list(APPEND CMAKE_PREFIX_PATH /usr/lib/llvm-19)

# Debian's LLVMSupport names this target, but its package is not a dependency of llvm-19-dev.
if(NOT TARGET zstd::libzstd_shared)
  find_library(MOAI_ZSTD NAMES zstd libzstd.so.1 REQUIRED)
  add_library(zstd::libzstd_shared SHARED IMPORTED)
  set_target_properties(zstd::libzstd_shared PROPERTIES IMPORTED_LOCATION ${MOAI_ZSTD})
endif()

find_package(MLIR 19.1 REQUIRED CONFIG)
list(APPEND CMAKE_MODULE_PATH ${MLIR_CMAKE_DIR} ${LLVM_CMAKE_DIR})
include(TableGen)
include(AddLLVM)
include(AddMLIR)

# Debian's static MLIR archives ask for the 120 MB libLLVM.so; linking LLVMSupport.a in its place
# brings start-up from 22 ms down to 2 ms.
get_property(mlir_libs GLOBAL PROPERTY MLIR_ALL_LIBS)
foreach(lib IN LISTS mlir_libs)
  if(TARGET ${lib})
    get_target_property(deps ${lib} INTERFACE_LINK_LIBRARIES)
    if(deps)
      list(TRANSFORM deps REPLACE "^LLVM$" "LLVMSupport")
      set_target_properties(${lib} PROPERTIES INTERFACE_LINK_LIBRARIES "${deps}")
    endif()
  endif()
endforeach()

find_package(TBB REQUIRED)
find_package(Eigen3 REQUIRED)
find_package(absl REQUIRED)
find_package(Threads REQUIRED)
find_package(simdjson REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(libzip REQUIRED IMPORTED_TARGET libzip)

# The fastest linker there is.
find_program(MOAI_MOLD mold)
if(MOAI_MOLD)
  add_link_options(-fuse-ld=mold)
endif()
add_link_options(-Wl,--gc-sections -Wl,--as-needed)
