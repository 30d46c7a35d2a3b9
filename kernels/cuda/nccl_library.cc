// Opening NCCL.
#include "kernels/cuda/nccl_library.h"

#include <fmt/format.h>

#include "kernels/cuda/call.h"

namespace farscale::cuda {
namespace {

using Opened = Maybe<std::shared_ptr<const Nccl>>;

constexpr const char* kInstall =
    "install NCCL (package libnccl2), or put its folder into LD_LIBRARY_PATH (Python's nvidia-nccl package holds it "
    "too)";
constexpr int kOldest = NCCL_VERSION(2, 19, 0);

}  // namespace

Opened Nccl::open() {
  auto library = Library::open({"libnccl.so.2"}, kInstall);
  if (!library) return Opened::absent(library.reason());
  std::shared_ptr<Nccl> nccl(new Nccl());
  nccl->library_ = std::move(*library);
  std::string missing;
#define FARSCALE_FIND(call) \
  if (!nccl->library_->find(#call, nccl->calls_.call)) missing = #call;
  FARSCALE_NCCL_CALLS(FARSCALE_FIND)
#undef FARSCALE_FIND
#define FARSCALE_FIND_LATER(call) \
  if (!nccl->library_->find(#call, nccl->calls_.call)) nccl->lacks_ += nccl->lacks_.empty() ? #call : ", " #call;
  FARSCALE_NCCL_LATER_CALLS(FARSCALE_FIND_LATER)
#undef FARSCALE_FIND_LATER
  if (!nccl->lacks_.empty()) nccl->lacks_.insert(0, "libnccl.so.2 has no ");
  if (!missing.empty()) return Opened::absent(fmt::format("libnccl.so.2 has no {}: {}", missing, kInstall));
  FARSCALE_CALL(nccl->calls_.ncclGetVersion(&nccl->version_));
  if (nccl->version_ < kOldest) {
    return Opened::absent(fmt::format("{} is too old, 2.19 or newer is needed: {}", nccl->version(), kInstall));
  }
  return std::shared_ptr<const Nccl>(std::move(nccl));
}

std::string Nccl::version() const {
  return fmt::format("NCCL {}.{}.{}", version_ / 10000, version_ / 100 % 100, version_ % 100);
}

}  // namespace farscale::cuda
