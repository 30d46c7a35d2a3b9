// Opening modules, and ranks as threads.
#include "kernels/cuda/tests/modules.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "kernels/module.h"

namespace farscale::cuda_test {
namespace {

// The meeting place of the ranks: everyone puts a value down, everyone sees all of them.
class Table {
 public:
  explicit Table(int size) : slots_(static_cast<size_t>(size)) {}

  std::vector<std::string> meet(int rank, std::string value) {
    std::unique_lock lock(mutex_);
    slots_[static_cast<size_t>(rank)] = std::move(value);
    const int64_t round = round_;
    if (++arrived_ == static_cast<int>(slots_.size())) {
      arrived_ = 0;
      seen_ = slots_;
      ++round_;
      changed_.notify_all();
    }
    changed_.wait(lock, [&] { return round_ != round; });
    return seen_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> slots_, seen_;
  int arrived_ = 0;
  int64_t round_ = 0;
};

class ThreadWorld final : public World {
 public:
  ThreadWorld(std::shared_ptr<Table> table, int rank, int size) : table_(std::move(table)), rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int local_rank() const override { return rank_; }
  std::string library() const override { return "threads"; }
  std::vector<std::string> hosts() const override {
    return std::vector<std::string>(static_cast<size_t>(size_), "here");
  }
  void barrier() const override { (void)gather(""); }
  std::string broadcast(const std::string& text, int root) const override {
    return gather(text)[static_cast<size_t>(root)];
  }
  std::vector<std::string> gather(const std::string& text) const override { return table_->meet(rank_, text); }
  std::vector<double> reduce(std::vector<double> values, Reduction op) const override {
    std::string bytes(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double));
    const auto all = gather(bytes);
    for (size_t i = 0; i < values.size(); ++i) {
      for (int other = 0; other < size_; ++other) {
        if (other == rank_) continue;
        double value = 0;
        std::copy_n(all[static_cast<size_t>(other)].data() + i * sizeof value, sizeof value,
                    reinterpret_cast<char*>(&value));
        values[i] = op == Reduction::kMin   ? std::min(values[i], value)
                    : op == Reduction::kMax ? std::max(values[i], value)
                                            : values[i] + value;
      }
    }
    return values;
  }
  void collective(const CollectiveProblem&, const void*, void*) const override { throw CallError("not in this test"); }
  std::unique_ptr<World> duplicate() const override { return std::make_unique<ThreadWorld>(table_, rank_, size_); }
  void on_lost(double, std::function<void(const std::string&)>) override {}
  void abort(int) override {}

 private:
  std::shared_ptr<Table> table_;
  int rank_;
  int size_;
};

}  // namespace

Maybe<std::unique_ptr<Backend>> open_module_here(const std::string& name, World& world) {
  ::setenv("FARSCALE_MODULE_PATH", FARSCALE_BINARY_DIR, 0);  // a bundle's modules lie elsewhere, and it says where
  return open_backend(name, world);
}

const fake::Controls* fake_controls() {
  const char* folder = std::getenv("FARSCALE_MODULE_PATH");
  const std::string path = std::string(folder != nullptr ? folder : FARSCALE_BINARY_DIR) + "/farscale-fake.so";
  if (!std::filesystem::exists(path)) return nullptr;
  void* module = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);  // stays open, as the program keeps its modules
  if (module == nullptr) return nullptr;
  void* entry = ::dlsym(module, "farscale_fake");
  const fake::Controls* controls = reinterpret_cast<const fake::Controls* (*)()>(entry)();
  controls->reset();
  return controls;
}

void FakeTest::SetUp() {
  fake_ = fake_controls();
  if (fake_ == nullptr) {
    GTEST_SKIP() << "farscale-fake.so was not built: the CUDA, cuBLASLt or NCCL headers were not found";
  }
}

void FakeTest::TearDown() {
  if (fake_ != nullptr) {
    EXPECT_STREQ(fake_->alive(), "");
  }
}

std::unique_ptr<Backend> FakeTest::open(World& world) {
  auto backend = open_module_here("fake", world);
  if (!backend) throw EnvironmentError(backend.reason());
  return std::move(*backend);
}

std::vector<std::string> run_ranks(int ranks, const std::function<void(World& world)>& body) {
  const auto table = std::make_shared<Table>(ranks);
  std::vector<std::string> thrown(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      ThreadWorld world(table, rank, ranks);
      try {
        body(world);
      } catch (const std::exception& error) {
        thrown[static_cast<size_t>(rank)] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return thrown;
}

}  // namespace farscale::cuda_test
