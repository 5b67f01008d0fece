# Installs libraries, headers and tools such that `find_package(moai)` finds them.
include(CMakePackageConfigHelpers)
set(moai_config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/moai)

get_property(moai_libraries GLOBAL PROPERTY MOAI_LIBRARIES)
install(TARGETS ${moai_libraries} EXPORT moaiTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT moaiTargets NAMESPACE moai:: DESTINATION ${moai_config_dir})

install(DIRECTORY ${CMAKE_SOURCE_DIR}/include/moai DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h" PATTERN "*.td")
# What tablegen made of the .td files.
install(DIRECTORY ${CMAKE_BINARY_DIR}/include/moai DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h.inc" PATTERN "CMakeFiles" EXCLUDE)

configure_package_config_file(${CMAKE_SOURCE_DIR}/lib/cmake/moaiConfig.cmake.in ${CMAKE_BINARY_DIR}/cmake/moaiConfig.cmake
                              INSTALL_DESTINATION ${moai_config_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/cmake/moaiConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/cmake/moaiConfig.cmake ${CMAKE_BINARY_DIR}/cmake/moaiConfigVersion.cmake
              ${CMAKE_SOURCE_DIR}/lib/cmake/MoaiMLIR.cmake
        DESTINATION ${moai_config_dir})
