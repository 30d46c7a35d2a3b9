// The fake seam to dlopen: libraries are tables of the fakes in this module.
#include <cublasLt.h>
#include <nccl.h>

#include <map>

#include "kernels/cuda/blas.h"
#ifdef FARSCALE_CUDNN
#include "kernels/cuda/cudnn_library.h"
#endif
#include "kernels/cuda/fake/state.h"
#include "kernels/cuda/library.h"
#include "kernels/cuda/nccl_library.h"
#include "kernels/cuda/nvml_library.h"

namespace farscale::cuda {
namespace {

using Symbols = std::map<std::string, void*>;

#define FARSCALE_ROW(call) {#call, reinterpret_cast<void*>(&::call)},
const Symbols kBlas{FARSCALE_CUBLASLT_CALLS(FARSCALE_ROW)};
const Symbols kNccl{FARSCALE_NCCL_CALLS(FARSCALE_ROW) FARSCALE_NCCL_LATER_CALLS(FARSCALE_ROW)};
const Symbols kNvml{FARSCALE_NVML_CALLS(FARSCALE_ROW) FARSCALE_NVML_OPTIONAL_CALLS(FARSCALE_ROW)};
#undef FARSCALE_ROW

#ifdef FARSCALE_CUDNN
#define FARSCALE_ROW(call) {#call, reinterpret_cast<void*>(&::call)},
const Symbols kCudnn{FARSCALE_CUDNN_CALLS(FARSCALE_ROW)};
#undef FARSCALE_ROW
#endif

const Symbols* library(const std::string& soname) {
#ifdef FARSCALE_CUDNN
  if (soname.starts_with("libcudnn.so")) return &kCudnn;
#endif
  if (soname.starts_with("libcublasLt.so")) return &kBlas;
  if (soname.starts_with("libnccl.so")) return &kNccl;
  return soname.starts_with("libnvidia-ml.so") ? &kNvml : nullptr;
}

}  // namespace

void* Loader::open(const std::string& soname, std::string& why_not) {
  const fake::Lock lock(fake::state().mutex);
  const Symbols* symbols = library(soname);
  const bool hidden = fake::state().machine.hidden_libraries.contains(soname);
  if (symbols == nullptr || hidden || fake::fails("dlopen")) {
    why_not = soname + ": cannot open shared object file (fake)";
    return nullptr;
  }
  fake::count_alive("library", 1);
  return const_cast<Symbols*>(symbols);
}

void* Loader::symbol(void* opened, const char* name) {
  const fake::Lock lock(fake::state().mutex);
  if (fake::fails("dlsym")) {
    fake::state().failed += std::string(" ") + name;
    return nullptr;
  }
  if (fake::state().machine.hidden_symbols.contains(name)) return nullptr;
  const auto& symbols = *static_cast<const Symbols*>(opened);
  const auto found = symbols.find(name);
  return found == symbols.end() ? nullptr : found->second;
}

void Loader::close(void*) noexcept { fake::count_alive("library", -1); }

}  // namespace farscale::cuda
