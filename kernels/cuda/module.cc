// The one entry of farscale-cuda.so: finds a driver and a GPU, or says what is missing. The CUDA runtime is linked in
// and libcuda is not: the module opens on any machine, and only this answers differently.
#include <fmt/format.h>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/call.h"

namespace farscale::cuda {
namespace {

using Opened = Maybe<std::unique_ptr<Backend>>;

// What to do about the errors that mean "no GPU here" rather than "a call went wrong".
const char* cure(cudaError_t status) {
  switch (status) {
    case cudaErrorInsufficientDriver:  // 35: no libcuda.so.1 at all, or one older than the runtime needs
      return "no NVIDIA driver, or one too old for this CUDA runtime; install or update the driver";
    case cudaErrorStubLibrary:  // 34
      return "only the toolkit's stub of libcuda.so was found; install the driver and take the stubs folder out of "
             "LD_LIBRARY_PATH";
    case cudaErrorNoDevice:  // 100
      return "the driver is there but shows no GPU; look at nvidia-smi and at CUDA_VISIBLE_DEVICES";
    default:
      return nullptr;
  }
}

Opened open(World& world) {
  int devices = 0;
  const cudaError_t status = ::cudaGetDeviceCount(&devices);
  if (status == cudaSuccess && devices > 0) return open_cuda(world, devices);
  const cudaError_t missing = status == cudaSuccess ? cudaErrorNoDevice : status;
  if (status != cudaSuccess) (void)::cudaGetLastError();
  if (const char* advice = cure(missing)) {
    return Opened::absent(fmt::format("no GPU: cudaGetDeviceCount says {}: {}", describe(missing), advice));
  }
  return Opened::absent(
      fmt::format("cudaGetDeviceCount(&devices) failed: {} at kernels/cuda/module.cc", describe(missing)));
}

}  // namespace
}  // namespace farscale::cuda

#ifndef FARSCALE_CUDA_MODULE_NAME
#define FARSCALE_CUDA_MODULE_NAME "cuda"
#endif

extern "C" const farscale::BackendModule* farscale_backend() {
  static constexpr farscale::BackendModule kModule{
      .version = farscale::BackendModule::kVersion, .name = FARSCALE_CUDA_MODULE_NAME, .open = farscale::cuda::open};
  return &kModule;
}
