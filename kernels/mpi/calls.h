// Checked MPI calls: an error becomes a CallError with the call's text, MPI's words for it, and the place.
#pragma once

#include <mpi.h>

namespace farscale {

[[noreturn]] void fail_mpi(int code, const char* call, const char* file, int line);

inline void check_mpi(int code, const char* call, const char* file, int line) {
  if (code != MPI_SUCCESS) [[unlikely]]
    fail_mpi(code, call, file, line);
}

}  // namespace farscale

// A macro because only the preprocessor has the call's own text.
#define FARSCALE_MPI(call) ::farscale::check_mpi((call), #call, __FILE__, __LINE__)
