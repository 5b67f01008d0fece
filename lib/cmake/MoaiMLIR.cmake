# MLIR 19 as Debian packs it, linked statically. Also part of an installed moai, whose users link the same archives.

# Debian's LLVMSupport names this target, but its package is not a dependency of llvm-19-dev.
if(NOT TARGET zstd::libzstd_shared)
  find_library(MOAI_ZSTD NAMES zstd libzstd.so.1 REQUIRED)
  mark_as_advanced(MOAI_ZSTD)
  add_library(zstd::libzstd_shared SHARED IMPORTED)
  set_target_properties(zstd::libzstd_shared PROPERTIES IMPORTED_LOCATION ${MOAI_ZSTD})
endif()

list(APPEND CMAKE_PREFIX_PATH /usr/lib/llvm-19)
find_package(MLIR 19.1 REQUIRED CONFIG)

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
