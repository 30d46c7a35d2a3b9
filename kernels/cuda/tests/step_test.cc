// What a training step needs of the module beside its kernels: graphs over both streams, inputs, memory that is shared.
#include "kernels/cuda/tests/modules.h"

namespace farscale::cuda_test {
namespace {

class StepParts : public ModuleTest {};

// What needs a GPU that does as it is told.
class StepPartsOnTheFake : public FakeTest {};

// Compute, a collective beside it, and a product after both, recorded once: the same order, and less for the host.
TEST_P(StepParts, AGraphOverBothQueuesRunsTheSameWork) {
  const auto gemm = prepared(GemmProblem{.m = 64, .n = 64, .k = 64}, {.cold = false});
  const auto reduce = prepared(CollectiveProblem{.bytes = 4096, .ranks = 1});
  ASSERT_TRUE(gemm && reduce);
  const auto compute = backend_->open_queue(QueueRole::kCompute);
  const auto communication = backend_->open_queue(QueueRole::kCommunication);
  const auto ready = backend_->make_event(), done = backend_->make_event();
  const auto enqueue = [&] {
    gemm->run(*compute);
    compute->record(*ready);
    communication->wait_for(*ready);
    reduce->run(*communication);
    gemm->run(*compute);
    communication->record(*done);
    compute->wait_for(*done);
    gemm->run(*compute);
  };
  enqueue();
  compute->synchronize();
  auto graph = backend_->record_graph(*compute, enqueue);
  ASSERT_TRUE(graph) << graph.reason();
  for (int i = 0; i < 3; ++i) {
    const int64_t before = fake_ != nullptr ? fake_->calls() : 0;
    (*graph)->launch(*compute);
    if (fake_ != nullptr) {
      EXPECT_EQ(fake_->calls() - before, 1) << "one launch";
    }
    compute->synchronize();
    communication->synchronize();
  }
  EXPECT_TRUE(gemm->verify().correct);
  EXPECT_TRUE(reduce->verify().correct);
  enqueue();  // and eagerly again, with the events the graph used
  compute->synchronize();
}

// A stream that was taken into the recording must come back before its end.
TEST_P(StepParts, AForgottenJoinIsAnError) {
  const auto copy = prepared(MemoryProblem{.elements = 64}, {.cold = false});
  const auto compute = backend_->open_queue(QueueRole::kCompute);
  const auto communication = backend_->open_queue(QueueRole::kCommunication);
  const auto event = backend_->make_event();
  EXPECT_THROW((void)backend_->record_graph(*compute,
                                            [&] {
                                              compute->record(*event);
                                              communication->wait_for(*event);
                                              copy->run(*communication);
                                            }),
               CallError);
  EXPECT_THROW((void)backend_->record_graph(*compute, [] { throw CallError("in the middle"); }), CallError);
  copy->run(*communication);  // both queues work as before
  communication->synchronize();
  compute->synchronize();
}

// Who waits for a collective's event notices when the collective fails.
TEST_F(StepPartsOnTheFake, WaitingForACollectiveWatchesIt) {
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

TEST_P(StepParts, InputsArriveUnchanged) {
  auto copy = backend_->prepare_input(100001);
  ASSERT_TRUE(copy) << copy.reason();
  EXPECT_TRUE((*copy)->verify().correct);
  const auto queue = backend_->open_queue(QueueRole::kInput);
  (*copy)->run(*queue);
  queue->synchronize();
  auto large = backend_->prepare_input(int64_t{1} << 42);
  ASSERT_FALSE(large);
  EXPECT_NE(large.reason().find("does not fit"), std::string::npos);
}

std::vector<Problem> thirty_products() {
  std::vector<Problem> problems;
  for (int64_t i = 0; i < 30; ++i) {
    problems.push_back(GemmProblem{.m = 1024, .n = 1024, .k = 2 + i / 15, .type = NumberType::kFp32});
  }
  return problems;
}

// Thirty products with results of 4 MiB each fit into memory that holds a few of them.
TEST_P(StepParts, ProductsShareTheArena) {
  if (fake_ != nullptr) fake_->set_memory(int64_t{80} << 20);
  const std::vector<Problem> problems = thirty_products();
  auto arena = backend_->make_arena(problems);
  ASSERT_TRUE(arena) << arena.reason();
  EXPECT_LT((*arena)->bytes(), 80 << 20);
  std::vector<std::unique_ptr<Operation>> operations;
  for (const Problem& problem : problems) {
    operations.push_back(prepared(problem, {.cold = false, .arena = arena->get()}));
    ASSERT_NE(operations.back(), nullptr);
  }
  EXPECT_TRUE(operations.back()->verify().correct);
}

TEST_F(StepPartsOnTheFake, AnArenaThatDoesNotFitIsAReason) {
  fake_->set_memory(int64_t{3} << 20);
  EXPECT_FALSE(open()->make_arena(thirty_products()));
}

INSTANTIATE_TEST_SUITE_P(Modules, StepParts, ::testing::Values("fake", "cuda"), module_name);

}  // namespace
}  // namespace farscale::cuda_test
