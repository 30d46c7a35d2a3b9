// Opening modules, and ranks as threads.
#include "kernels/cuda/tests/modules.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

#include "kernels/module.h"
#include "kernels/tests/thread_world.h"

namespace farscale::cuda_test {
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

void ModuleTest::SetUp() {
  if (std::string(GetParam()) == "fake") {
    fake_ = fake_controls();
    if (fake_ == nullptr) {
      GTEST_SKIP() << "farscale-fake.so was not built: the CUDA, cuBLASLt or NCCL headers were not found";
    }
  }
  auto backend = open_module_here(GetParam(), *world_);
  if (!backend) GTEST_SKIP() << backend.reason();
  backend_ = std::move(*backend);
}

void ModuleTest::TearDown() {
  backend_.reset();
  if (fake_ != nullptr) {
    EXPECT_STREQ(fake_->alive(), "");
  }
}

std::unique_ptr<Operation> ModuleTest::prepared(const Problem& problem, const OperationSettings& settings) {
  auto operation = backend_->prepare(problem, settings);
  EXPECT_TRUE(operation) << name(problem) << ": " << operation.reason();
  return operation ? std::move(*operation) : nullptr;
}

std::string ModuleTest::reason(const Problem& problem) {
  auto operation = backend_->prepare(problem, {});
  EXPECT_FALSE(operation) << name(problem);
  return operation.reason();
}

std::vector<std::string> run_ranks(int ranks, const std::function<void(World& world)>& body) {
  std::vector<std::string> messages;
  for (const std::exception_ptr& thrown : thrown_by_ranks(ranks, body)) {
    try {
      messages.emplace_back();
      if (thrown) std::rethrow_exception(thrown);
    } catch (const std::exception& error) {
      messages.back() = error.what();
    }
  }
  return messages;
}

}  // namespace farscale::cuda_test
