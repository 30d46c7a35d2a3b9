// What a training step needs of the module beside its kernels: graphs over both streams, inputs, memory that is shared.
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

}  // namespace
}  // namespace farscale::cuda_test
