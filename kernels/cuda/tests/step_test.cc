// What a training step needs of the module beside its kernels: graphs over both streams, inputs, memory that is shared.
#include <set>

#include "kernels/cuda/tests/modules.h"

namespace farscale::cuda_test {
namespace {

class StepParts : public FakeTest {};

// Compute, a collective beside it, and a product after both, recorded once: the same order, and less for the host.
TEST_F(StepParts, AGraphOverBothQueuesRunsTheSameWork) {
  const auto backend = open();
  auto gemm = backend->prepare(GemmProblem{.m = 64, .n = 64, .k = 64}, {.cold = false});
  auto reduce = backend->prepare(CollectiveProblem{.bytes = 4096, .ranks = 1}, {});
  ASSERT_TRUE(gemm && reduce);
  const auto compute = backend->open_queue(QueueRole::kCompute);
  const auto communication = backend->open_queue(QueueRole::kCommunication);
  const auto ready = backend->make_event(), done = backend->make_event();
  const auto enqueue = [&] {
    (*gemm)->run(*compute);
    compute->record(*ready);
    communication->wait_for(*ready);
    (*reduce)->run(*communication);
    (*gemm)->run(*compute);
    communication->record(*done);
    compute->wait_for(*done);
    (*gemm)->run(*compute);
  };
  enqueue();
  compute->synchronize();
  fake_->reset();
  enqueue();
  const int64_t eager = fake_->calls();
  compute->synchronize();
  auto graph = backend->record_graph(*compute, enqueue);
  ASSERT_TRUE(graph) << graph.reason();
  for (int i = 0; i < 3; ++i) {
    fake_->reset();
    (*graph)->launch(*compute);
    EXPECT_EQ(fake_->calls(), 1) << "one launch for " << eager << " calls";
    compute->synchronize();
    communication->synchronize();
  }
  EXPECT_TRUE((*gemm)->verify().correct);
  enqueue();  // and eagerly again, with the events the graph used
  compute->synchronize();
}

// A stream that was taken into the recording must come back before its end.
TEST_F(StepParts, AForgottenJoinIsAnError) {
  const auto backend = open();
  auto copy = backend->prepare(MemoryProblem{.elements = 64}, {.cold = false});
  const auto compute = backend->open_queue(QueueRole::kCompute);
  const auto communication = backend->open_queue(QueueRole::kCommunication);
  const auto event = backend->make_event();
  EXPECT_THROW((void)backend->record_graph(*compute,
                                           [&] {
                                             compute->record(*event);
                                             communication->wait_for(*event);
                                             (*copy)->run(*communication);
                                           }),
               CallError);
  EXPECT_THROW((void)backend->record_graph(*compute, [] { throw CallError("in the middle"); }), CallError);
  (*copy)->run(*communication);  // both queues work as before
  communication->synchronize();
  compute->synchronize();
}

// Who waits for a collective's event notices when the collective fails.
TEST_F(StepParts, WaitingForACollectiveWatchesIt) {
  const auto backend = open();
  auto reduce = backend->prepare(CollectiveProblem{.bytes = 4096, .ranks = 1}, {});
  ASSERT_TRUE(reduce);
  const auto compute = backend->open_queue(QueueRole::kCompute);
  const auto communication = backend->open_queue(QueueRole::kCommunication);
  const auto done = backend->make_event();
  (*reduce)->run(*communication);
  communication->record(*done);
  compute->wait_for(*done);
  fake_->set_async_error(3);  // ncclInternalError
  EXPECT_THROW(compute->synchronize(), CallError);
  fake_->set_async_error(0);
}

TEST_F(StepParts, InputsArriveUnchanged) {
  const auto backend = open();
  auto copy = backend->prepare_input(100001);
  ASSERT_TRUE(copy) << copy.reason();
  EXPECT_TRUE((*copy)->verify().correct);
  const auto queue = backend->open_queue(QueueRole::kInput);
  (*copy)->run(*queue);
  queue->synchronize();
  auto large = backend->prepare_input(int64_t{1} << 40);
  ASSERT_FALSE(large);
  EXPECT_NE(large.reason().find("does not fit"), std::string::npos);
}

// Thirty products with results of 4 MiB each fit into memory that holds a few of them.
TEST_F(StepParts, ProductsShareTheArena) {
  fake_->set_memory(int64_t{80} << 20);
  const auto backend = open();
  std::vector<Problem> problems;
  for (int64_t i = 0; i < 30; ++i) {
    problems.push_back(GemmProblem{.m = 1024, .n = 1024, .k = 2 + i / 15, .type = NumberType::kFp32});
  }
  auto arena = backend->make_arena(problems);
  ASSERT_TRUE(arena) << arena.reason();
  std::vector<std::unique_ptr<Operation>> operations;
  for (const Problem& problem : problems) {
    auto operation = backend->prepare(problem, {.cold = false, .arena = arena->get()});
    ASSERT_TRUE(operation) << name(problem) << ": " << operation.reason();
    operations.push_back(std::move(*operation));
  }
  EXPECT_TRUE(operations.back()->verify().correct);
  fake_->set_memory(int64_t{10} << 20);
  EXPECT_FALSE(backend->make_arena(problems)) << "an arena that does not fit is a reason";
}

// What a step does with the module, in small: an arena, a convolution in each pass, an input, a graph over two queues.
// What could not be prepared is told by its reason.
std::string small_step(World& world) {
  std::string story;
  auto opened = open_module_here("fake", world);
  if (!opened) return opened.reason();
  Backend& backend = **opened;
  std::vector<Problem> problems;
  for (const ConvolutionPass pass : kConvolutionPasses) {
    problems.emplace_back(ConvolutionProblem{
        .pass = pass, .images = 1, .height = 4, .width = 4, .channels = 2, .filters = 2, .kernel = 3, .groups = 2});
  }
  auto arena = backend.make_arena(problems);
  if (!arena) return arena.reason();
  std::vector<std::unique_ptr<Operation>> operations;
  const auto keep = [&](Maybe<std::unique_ptr<Operation>> operation) {
    if (operation) operations.push_back(std::move(*operation));
    if (!operation) story += operation.reason() + "\n";
  };
  for (const Problem& problem : problems) keep(backend.prepare(problem, {.cold = false, .arena = arena->get()}));
  keep(backend.prepare_input(64));
  const auto compute = backend.open_queue(QueueRole::kCompute);
  const auto communication = backend.open_queue(QueueRole::kCommunication);
  const auto begun = backend.make_event(), done = backend.make_event();
  for (const auto& operation : operations) {
    const Verdict verdict = operation->verify();
    if (!verdict.correct) story += "wrong: " + verdict.detail + "\n";
    operation->run(*compute);
    for (const auto& [key, fact] : operation->details()) story += key == "first_failure" ? fact + "\n" : "";
  }
  compute->synchronize();
  auto graph = backend.record_graph(*compute, [&] {
    compute->record(*begun);
    communication->wait_for(*begun);
    for (const auto& operation : operations) operation->run(*communication);
    communication->record(*done);
    compute->wait_for(*done);
  });
  (*graph)->launch(*compute);
  compute->synchronize();
  return story;
}

// Every call of it is made to fail once: nothing leaks, and what is thrown or told names the call.
TEST_F(StepParts, EveryCallCanFail) {
  ASSERT_EQ(small_step(*world_), "");
  const int64_t calls = fake_->calls();
  ASSERT_GT(calls, 150);
  std::set<std::string> failed;
  for (int64_t n = 1; n <= calls; ++n) {
    fake_->reset();
    fake_->fail_call(n);
    std::string story;
    try {
      story = small_step(*world_);
    } catch (const Error& error) {
      story = error.what();
    }
    const std::string call = fake_->failed_call();
    failed.insert(call);
    ASSERT_STREQ(fake_->alive(), "") << "leaked when call " << n << ", " << call << ", failed\n" << story;
    // Closing calls report what an earlier call did wrong; the rest of the module's calls are fault_test.cc's business.
    const bool ours = call.starts_with("cudnn") || call.starts_with("cudaGraph") || call.starts_with("cudaStreamB") ||
                      call.starts_with("cudaStreamE") || call == "cudaMallocHost";
    const bool silent = call.find("Destroy") != std::string::npos;
    ASSERT_TRUE(!ours || silent || story.find(call) != std::string::npos)
        << "call " << n << ", " << call << ", failed and nothing said so:\n"
        << story;
  }
  for (const char* call : {"cudaMallocHost", "cudaGraphLaunch", "cudaStreamEndCapture", "cudaStreamWaitEvent"}) {
    EXPECT_TRUE(failed.contains(call)) << call;
  }
  if (!failed.contains("cudnnCreate")) GTEST_SKIP() << "built without cuDNN's headers";
  for (const char* call : {"cudnnSetStream", "cudnnCreateFilterDescriptor", "cudnnConvolutionForward",
                           "cudnnConvolutionBackwardData", "cudnnConvolutionBackwardFilter"}) {
    EXPECT_TRUE(failed.contains(call)) << call;
  }
}

}  // namespace
}  // namespace farscale::cuda_test
