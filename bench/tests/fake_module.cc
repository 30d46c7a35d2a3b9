// farscale-host.so of the tests: the fake backend behind the real program, told how to behave by FARSCALE_FAKE. Built
// into a folder of its own that FARSCALE_MODULE_PATH points at.
#include <cstdlib>

#include "bench/tests/fake_backend.h"

namespace farscale {
namespace {

Maybe<std::unique_ptr<Backend>> open(World&) {
  const auto state = std::make_shared<FakeState>();
  const char* text = std::getenv("FARSCALE_FAKE");
  if (text != nullptr) state->behaviour = parse_behaviour(text);
  return fake_backend(state);
}

constexpr BackendModule kModule = {.version = BackendModule::kVersion, .name = "host", .open = open};

}  // namespace
}  // namespace farscale

extern "C" const farscale::BackendModule* farscale_backend() { return &farscale::kModule; }
