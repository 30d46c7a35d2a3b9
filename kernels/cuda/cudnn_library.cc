// Opening cuDNN.
#include "kernels/cuda/cudnn_library.h"

#include <fmt/format.h>

#include "kernels/cuda/call.h"

namespace farscale::cuda {
namespace {

using Opened = Maybe<std::shared_ptr<const Cudnn>>;

constexpr const char* kInstall =
    "convolutions run as GEMMs without it; install cuDNN 9 (package libcudnn9-cuda-12 or -13), or put its folder into "
    "LD_LIBRARY_PATH";

}  // namespace

void check_cudnn(cudnnStatus_t status, const char* call, const std::source_location& where) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  throw_call_error(call, fmt::format("{} (cudnnStatus_t)", static_cast<int>(status)), "", where);
}

Opened Cudnn::open() {
  auto library = Library::open({"libcudnn.so.9"}, kInstall);
  if (!library) return Opened::absent(library.reason());
  std::shared_ptr<Cudnn> cudnn(new Cudnn());
  cudnn->library_ = std::move(*library);
  std::string missing;
#define FARSCALE_FIND(call) \
  if (!cudnn->library_->find(#call, cudnn->calls_.call)) missing = #call;
  FARSCALE_CUDNN_CALLS(FARSCALE_FIND)
#undef FARSCALE_FIND
  if (!missing.empty()) return Opened::absent(fmt::format("libcudnn.so.9 has no {}: {}", missing, kInstall));
  FARSCALE_CUDNN_CALL(cudnn->calls_.cudnnCreate(&cudnn->handle_));
  return std::shared_ptr<const Cudnn>(std::move(cudnn));
}

Cudnn::~Cudnn() {
  if (handle_ != nullptr) (void)calls_.cudnnDestroy(handle_);
}

// 91301: major * 10000 + minor * 100 + patch, since cuDNN 9.
std::string Cudnn::version() const {
  const size_t version = calls_.cudnnGetVersion();
  return fmt::format("cuDNN {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

}  // namespace farscale::cuda
