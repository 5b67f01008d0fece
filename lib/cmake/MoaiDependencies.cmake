# Every third-party package, all of them Debian's.
include(MoaiMLIR)
list(APPEND CMAKE_MODULE_PATH ${MLIR_CMAKE_DIR} ${LLVM_CMAKE_DIR})
include(TableGen)
include(AddLLVM)
include(AddMLIR)

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
