// NCCL, opened at run time: its functions as a table.
#pragma once

#include <nccl.h>

#include <memory>
#include <string>

#include "kernels/cuda/library.h"
#include "kernels/error.h"

// Every NCCL function this module calls; the table, its loading and the fake are made from this list.
#define FARSCALE_NCCL_CALLS(X) \
  X(ncclGetVersion)            \
  X(ncclGetUniqueId)           \
  X(ncclCommInitRankConfig)    \
  X(ncclCommSplit)             \
  X(ncclMemAlloc)              \
  X(ncclMemFree)               \
  X(ncclCommRegister)          \
  X(ncclCommDeregister)        \
  X(ncclCommFinalize)          \
  X(ncclCommDestroy)           \
  X(ncclCommAbort)             \
  X(ncclCommGetAsyncError)     \
  X(ncclGetLastError)          \
  X(ncclAllReduce)             \
  X(ncclReduceScatter)         \
  X(ncclAllGather)             \
  X(ncclBroadcast)             \
  X(ncclSend)                  \
  X(ncclRecv)                  \
  X(ncclGroupStart)            \
  X(ncclGroupEnd)

// Those that came after 2.19, the oldest release this module runs with: nullptr where the library lacks them.
#define FARSCALE_NCCL_LATER_CALLS(X) \
  X(ncclGroupSimulateEnd)            \
  X(ncclCommInitRankScalable)        \
  X(ncclCommWindowRegister)          \
  X(ncclCommWindowDeregister)

namespace farscale::cuda {

struct NcclCalls {
  FARSCALE_NCCL_CALLS(FARSCALE_MEMBER)
  FARSCALE_NCCL_LATER_CALLS(FARSCALE_MEMBER)
};

class Nccl {
 public:
  // The reason when the library or a function of it is missing, or when it is older than 2.19 (the first release whose
  // non-blocking communicators this module was written against).
  static Maybe<std::shared_ptr<const Nccl>> open();
  const NcclCalls& calls() const { return calls_; }
  int version_code() const { return version_; }        // 22809 for 2.28.9
  std::string version() const;                         // "NCCL 2.28.9"
  const std::string& lacks() const { return lacks_; }  // "libnccl.so.2 has no ncclGroupSimulateEnd", "" when complete

 private:
  Nccl() = default;
  std::unique_ptr<Library> library_;
  NcclCalls calls_;
  int version_ = 0;
  std::string lacks_;
};

}  // namespace farscale::cuda
