// Finding the plugin beside this module.
#include "kernels/cuda/nccl_choice.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

#include "kernels/backend.h"

namespace farscale::cuda {
namespace {

constexpr const char* kVariable = "NCCL_PROFILER_PLUGIN";

std::string plugin_path() {
  Dl_info module{};
  if (::dladdr(reinterpret_cast<void*>(&farscale_backend), &module) == 0) return "";
  const auto path = std::filesystem::absolute(module.dli_fname).parent_path() / "farscale-nccl.so";
  return std::filesystem::exists(path) ? path.string() : "";
}

// NCCL has the plugin open under the same path: this is the same instance.
const NcclListener* listener() {
  const char* chosen = std::getenv(kVariable);
  const std::string path = plugin_path();
  if (chosen == nullptr || path.empty() || path != chosen) return nullptr;
  void* plugin = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* entry = plugin == nullptr ? nullptr : ::dlsym(plugin, "farscale_nccl_listener");
  return entry == nullptr ? nullptr : reinterpret_cast<decltype(&farscale_nccl_listener)>(entry)();
}

}  // namespace

void offer_nccl_plugin() {
  const std::string path = plugin_path();
  if (!path.empty()) ::setenv(kVariable, path.c_str(), 0);
}

void NcclEar::open() {
  listener_ = listener();
  if (listener_ != nullptr) listener_->start();
}

Facts NcclEar::close() {
  const NcclChoice heard = listener_ != nullptr ? listener_->stop() : NcclChoice{};
  listener_ = nullptr;
  if (heard.seen == 0) return {{"algorithm", "unknown: NCCL did not say"}};
  return {{"algorithm", heard.algorithm}, {"protocol", heard.protocol}, {"channels", std::to_string(heard.channels)}};
}

NcclEar::~NcclEar() {
  if (listener_ != nullptr) (void)listener_->stop();
}

}  // namespace farscale::cuda
