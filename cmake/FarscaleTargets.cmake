# What every target of the project shares: language level, warnings, sanitizers, and the two target shapes
# (a room's static library, a module opened at run time) plus the test helper.

# Settings every target has.
function(farscale_settings target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wno-missing-field-initializers -Wnon-virtual-dtor>
    $<$<AND:$<BOOL:${FARSCALE_WERROR}>,$<COMPILE_LANGUAGE:CXX>>:-Werror>)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  if(FARSCALE_SANITIZE)
    # GCC's manual: sanitizers make -Wmaybe-uninitialized and its kin warn falsely (here inside std::regex).
    target_compile_options(${target} PRIVATE
      $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${FARSCALE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer
      -Wno-maybe-uninitialized -Wno-restrict>)
    target_link_options(${target} PRIVATE -fsanitize=${FARSCALE_SANITIZE})
    get_target_property(type ${target} TYPE)
    if(type STREQUAL EXECUTABLE)
      target_sources(${target} PRIVATE ${PROJECT_SOURCE_DIR}/cmake/keep_open.cc)
      target_link_options(${target} PRIVATE -Wl,--export-dynamic-symbol=dlclose)
    endif()
  endif()
endfunction()

# farscale_room(NAME file.cc ...): a room's static library, included as "room/header.h".
function(farscale_room name)
  add_library(${name} STATIC ${ARGN})
  farscale_settings(${name})
  target_include_directories(${name} INTERFACE ${PROJECT_SOURCE_DIR})
endfunction()

# farscale_module(NAME file.cc ...): a shared object beside the program, opened by name, linked by nobody.
function(farscale_module name)
  add_library(${name} MODULE ${ARGN})
  farscale_settings(${name})
  set_target_properties(${name} PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  install(TARGETS ${name} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/farscale)
endfunction()

# farscale_test(NAME SOURCES a.cc ... LIBRARIES x ... [LABELS l]): one GoogleTest program, one CTest entry a test.
function(farscale_test name)
  if(NOT FARSCALE_TESTS)
    return()
  endif()
  cmake_parse_arguments(PARSE_ARGV 1 T "" "" "SOURCES;LIBRARIES;LABELS")
  add_executable(${name} ${T_SOURCES})
  farscale_settings(${name})
  target_link_libraries(${name} PRIVATE ${T_LIBRARIES} GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE
    FARSCALE_SOURCE_DIR="${PROJECT_SOURCE_DIR}" FARSCALE_BINARY_DIR="${CMAKE_BINARY_DIR}")
  include(GoogleTest)
  # An empty LABELS value would swallow the next word.
  if(T_LABELS)
    set(labels LABELS "${T_LABELS}")
  endif()
  gtest_discover_tests(${name} NO_PRETTY_VALUES DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 300 ${labels})
endfunction()
