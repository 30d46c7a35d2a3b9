// Every call that a collective makes is made to fail once, with each way of launching and of keeping buffers: nothing
// leaks, the communicator is aborted, and what is thrown or recorded names the call.
#include <set>

#include "kernels/cuda/tests/modules.h"

namespace farscale::cuda_test {
namespace {

class NcclFaults : public FakeTest {
 protected:
  struct Story {
    std::string text;
    bool thrown = false;
  };

  // One rank, so that which call is the n-th is the same every time.
  Story tell(const OperationSettings& settings) {
    Story story;
    try {
      auto backend = open_module_here("fake", *world_);
      if (!backend) return {backend.reason(), false};
      for (const std::string& warning : (*backend)->device().warnings) story.text += warning + "\n";
      for (const CollectiveKind kind : kCollectiveKinds) {
        auto operation = (*backend)->prepare(
            CollectiveProblem{.kind = kind, .bytes = 256, .type = NumberType::kFp8E4M3, .ranks = 1}, settings);
        if (!operation) {
          story.text += operation.reason() + "\n";
          continue;
        }
        if (!(*operation)->verify().correct) story.text += "wrong\n";
        const auto queue = (*backend)->open_queue(QueueRole::kCommunication);
        (void)(*backend)->time_s(**operation, *queue, 2);
      }
    } catch (const Error& error) {
      story.thrown = true;
      story.text += error.what();
    }
    return story;
  }

  // Returns the names of the calls that were made to fail.
  std::set<std::string> sweep(const OperationSettings& settings) {
    EXPECT_FALSE(tell(settings).thrown);
    const int64_t calls = fake_->calls();
    std::set<std::string> failed;
    for (int64_t n = 1; n <= calls; ++n) {
      fake_->reset();
      fake_->set_nccl(windows_ ? 23004 : 22705, windows_);
      fake_->fail_call(n);
      const Story story = tell(settings);
      const std::string call = fake_->failed_call();
      if (!call.starts_with("nccl") && !call.starts_with("cudaGraph") && !call.starts_with("cudaStream")) continue;
      failed.insert(call);
      EXPECT_STREQ(fake_->alive(), "") << "leaked when call " << n << ", " << call << ", failed\n" << story.text;
      // At the end the state of the communicator that the working one was split from is asked for: by then it is done.
      const bool done = call == "ncclCommGetAsyncError" && fake_->communicators_finalised() > 0;
      const bool closing = done || call.ends_with("Destroy") || call.ends_with("Finalize") || call.ends_with("Free") ||
                           call.ends_with("Deregister");
      const bool told = story.text.find(call) != std::string::npos || fake_->communicators_aborted() > 0;
      EXPECT_TRUE(told || closing) << "call " << n << ", " << call << ", failed and nothing said so:\n" << story.text;
      if (story.thrown) {
        EXPECT_EQ(fake_->communicators_finalised(), 0) << call << "\n" << story.text;
      }
      if (HasFailure()) break;
    }
    fake_->reset();
    return failed;
  }

  bool windows_ = true;
};

TEST_F(NcclFaults, EagerCalls) {
  const std::set<std::string> failed = sweep({});
  for (const char* call :
       {"ncclGetVersion", "ncclGetUniqueId", "ncclCommInitRankConfig", "ncclCommSplit", "ncclCommGetAsyncError",
        "ncclAllReduce", "ncclReduceScatter", "ncclAllGather", "ncclBroadcast", "ncclGroupStart", "ncclSend",
        "ncclRecv", "ncclGroupEnd", "ncclGroupSimulateEnd", "ncclCommFinalize", "ncclCommDestroy"}) {
    EXPECT_TRUE(failed.contains(call)) << call;
  }
}

TEST_F(NcclFaults, GraphsAndWindows) {
  const std::set<std::string> failed = sweep({.graph = true, .registered = true, .most_ctas = 4});
  for (const char* call : {"ncclMemAlloc", "ncclMemFree", "ncclCommWindowRegister", "ncclCommWindowDeregister",
                           "cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate", "cudaGraphLaunch",
                           "cudaGraphDestroy", "cudaGraphExecDestroy"}) {
    EXPECT_TRUE(failed.contains(call)) << call;
  }
}

TEST_F(NcclFaults, UserBuffers) {
  windows_ = false;
  fake_->set_nccl(22705, false);
  const std::set<std::string> failed = sweep({.registered = true});
  for (const char* call : {"ncclCommRegister", "ncclCommDeregister"}) EXPECT_TRUE(failed.contains(call)) << call;
}

}  // namespace
}  // namespace farscale::cuda_test
