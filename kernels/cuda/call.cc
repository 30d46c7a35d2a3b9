// The text of an error: names from tables of our own where the library that knows them is opened only at run time.
#include "kernels/cuda/call.h"

#include <fmt/format.h>

#include <string_view>

namespace farscale::cuda {
namespace {

std::string_view name(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH:
      return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_MAPPING_ERROR:
      return "CUBLAS_STATUS_MAPPING_ERROR";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR:
      return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
    case CUBLAS_STATUS_LICENSE_ERROR:
      return "CUBLAS_STATUS_LICENSE_ERROR";
  }
  return "unknown cuBLAS status";
}

std::string_view name(ncclResult_t status) {
  switch (status) {
    case ncclSuccess:
      return "ncclSuccess";
    case ncclUnhandledCudaError:
      return "ncclUnhandledCudaError";
    case ncclSystemError:
      return "ncclSystemError";
    case ncclInternalError:
      return "ncclInternalError";
    case ncclInvalidArgument:
      return "ncclInvalidArgument";
    case ncclInvalidUsage:
      return "ncclInvalidUsage";
    case ncclRemoteError:
      return "ncclRemoteError";
    case ncclInProgress:
      return "ncclInProgress";
    default:
      return "unknown NCCL result";
  }
}

}  // namespace

std::string describe(cudaError_t status) {
  return fmt::format("{} {} ({})", static_cast<int>(status), ::cudaGetErrorName(status), ::cudaGetErrorString(status));
}

std::string describe(cublasStatus_t status) { return fmt::format("{} {}", static_cast<int>(status), name(status)); }

std::string describe(ncclResult_t status) { return fmt::format("{} {}", static_cast<int>(status), name(status)); }

void throw_call_error(const std::string& call, const std::string& status, const std::string& detail,
                      const std::source_location& where) {
  throw CallError(fmt::format("{} failed: {}{}{} at {}:{}", call, status, detail.empty() ? "" : ": ", detail,
                              where.file_name(), where.line()));
}

void check(cudaError_t status, const char* call, const std::source_location& where) {
  if (status == cudaSuccess) return;
  (void)::cudaGetLastError();  // an error that is not sticky must not be found again by the next launch
  if (status == cudaErrorMemoryAllocation) {
    throw OutOfDeviceMemory(
        fmt::format("{} failed: {} at {}:{}", call, describe(status), where.file_name(), where.line()));
  }
  throw_call_error(call, describe(status), "", where);
}

void check(cublasStatus_t status, const char* call, const std::source_location& where) {
  if (status != CUBLAS_STATUS_SUCCESS) throw_call_error(call, describe(status), "", where);
}

void check(ncclResult_t status, const char* call, const std::source_location& where) {
  if (status != ncclSuccess && status != ncclInProgress) throw_call_error(call, describe(status), "", where);
}

}  // namespace farscale::cuda
