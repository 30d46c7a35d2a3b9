// What NCCL chose for a collective: algorithm, protocol and channels, told by a profiler plugin of our own
// (farscale-nccl.so), which NCCL opens when NCCL_PROFILER_PLUGIN names it.
#pragma once

#include <cstdint>

#include "kernels/backend.h"

namespace farscale::cuda {

// The plugin's last collective since start(); written while it listens.
struct NcclChoice {
  char function[32];   // "AllReduce"
  char algorithm[32];  // "RING", "NVLS", …
  char protocol[32];   // "SIMPLE", "LL128", …
  int32_t channels;
  int32_t seen;  // collectives since start()
};

// The plugin's second entry, beside NCCL's.
struct NcclListener {
  void (*start)();
  NcclChoice (*stop)();
};

// Before the first communicator: names the plugin to NCCL, unless the user has named another.
void offer_nccl_plugin();

// Listens to NCCL for a while, where it uses the plugin.
class NcclEar {
 public:
  NcclEar() = default;
  ~NcclEar();
  NcclEar(const NcclEar&) = delete;
  NcclEar& operator=(const NcclEar&) = delete;
  void open();
  Facts close();  // algorithm, protocol and channels of the last collective, or that they are unknown

 private:
  const NcclListener* listener_ = nullptr;
};

}  // namespace farscale::cuda

extern "C" const farscale::cuda::NcclListener* farscale_nccl_listener();
