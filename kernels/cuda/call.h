// Every call into CUDA, cuBLASLt and NCCL is made inside FARSCALE_CALL: a status that is not success becomes a
// CallError with the call's text, the code, its name and the place.
#pragma once

#include <cublas_api.h>
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <source_location>
#include <string>

#include "kernels/error.h"

namespace farscale::cuda {

// "35 cudaErrorInsufficientDriver (CUDA driver version is insufficient for CUDA runtime version)"
std::string describe(cudaError_t status);
std::string describe(cublasStatus_t status);
std::string describe(ncclResult_t status);

// Device memory was too small for an allocation: prepare() turns it into a reason, elsewhere it is an error.
struct OutOfDeviceMemory : CallError {
  using CallError::CallError;
};

[[noreturn]] void throw_call_error(const std::string& call, const std::string& status, const std::string& detail,
                                   const std::source_location& where);

// Throws unless the call succeeded. ncclInProgress passes: the communicator is polled after it (communicator.h).
void check(cudaError_t status, const char* call, const std::source_location& where);
void check(cublasStatus_t status, const char* call, const std::source_location& where);
void check(ncclResult_t status, const char* call, const std::source_location& where);

}  // namespace farscale::cuda

#define FARSCALE_CALL(call) ::farscale::cuda::check((call), #call, std::source_location::current())
