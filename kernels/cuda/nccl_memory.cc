// Registering buffers with NCCL (user guide, "User Buffer Registration").
#include "kernels/cuda/nccl_memory.h"

#include <utility>

#include "kernels/cuda/call.h"

namespace farscale::cuda {

NcclMemory::NcclMemory(const std::shared_ptr<Communicator>& communicator, size_t bytes) : bytes_(bytes) {
  const NcclCalls& calls = communicator->calls();
  void* memory = nullptr;
  FARSCALE_CALL(calls.ncclMemAlloc(&memory, bytes));
  handle_ = {static_cast<std::byte*>(memory), Free{communicator}};
}

Registration::Registration(std::shared_ptr<Communicator> communicator, const NcclMemory& memory)
    : communicator_(std::move(communicator)) {
  Communicator& comm = *communicator_;
  const NcclCalls& calls = comm.calls();
  if (calls.ncclCommWindowRegister != nullptr && calls.ncclCommWindowDeregister != nullptr) {
    FARSCALE_NCCL(comm, calls.ncclCommWindowRegister(comm.get(), memory.get(), memory.bytes(), &window_,
                                                     NCCL_WIN_COLL_SYMMETRIC));
  }
  if (window_ != nullptr) return;  // NCCL 2.27 gives none where the GPUs cannot map each other's memory
  FARSCALE_NCCL(comm, calls.ncclCommRegister(comm.get(), memory.get(), memory.bytes(), &handle_));
}

// An aborted communicator has forgotten its buffers.
Registration::~Registration() {
  if (communicator_->get() == nullptr) return;
  try {
    deregister();
  } catch (const Error&) {  // run() has aborted the communicator: the next use of it says so
  }
}

void Registration::deregister() {
  Communicator& comm = *communicator_;
  const NcclCalls& calls = comm.calls();
  if (window_ != nullptr) {
    FARSCALE_NCCL(comm, calls.ncclCommWindowDeregister(comm.get(), window_));
  } else {
    FARSCALE_NCCL(comm, calls.ncclCommDeregister(comm.get(), handle_));
  }
}

}  // namespace farscale::cuda
