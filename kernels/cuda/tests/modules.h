// What the tests of the CUDA module share: opening the modules beside the build, the controls of the fake one, and
// what ranks as threads of the test threw.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/fake/controls.h"
#include "kernels/world.h"

namespace farscale::cuda_test {

// Opens a module of this build folder.
Maybe<std::unique_ptr<Backend>> open_module_here(const std::string& name, World& world);

// The fake module's controls, reset; nullptr where it was not built (no CUDA headers).
const fake::Controls* fake_controls();

// Tests on the fake module: skipped with the reason where it was not built; nothing may be alive after each.
class FakeTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;
  std::unique_ptr<Backend> open() { return open(*world_); }
  static std::unique_ptr<Backend> open(World& world);

  const fake::Controls* fake_ = nullptr;
  std::unique_ptr<World> world_ = single_world();
};

// Tests of any CUDA module, alone: on the fake one everywhere, on the real one where there is a GPU.
class ModuleTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override;
  void TearDown() override;
  // The operation; a failure with the reason where there is none.
  std::unique_ptr<Operation> prepared(const Problem& problem, const OperationSettings& settings = {});
  std::string reason(const Problem& problem);

  const fake::Controls* fake_ = nullptr;  // of the fake module
  std::unique_ptr<World> world_ = single_world();
  std::unique_ptr<Backend> backend_;
};

inline std::string module_name(const ::testing::TestParamInfo<const char*>& test) { return test.param; }

// Runs `body` as `ranks` ranks, each in a thread with a world of its own. Returns what each threw, "" for nothing.
std::vector<std::string> run_ranks(int ranks, const std::function<void(World& world)>& body);

}  // namespace farscale::cuda_test
