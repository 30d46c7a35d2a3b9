// dlopen of the modules, the launcher's traces in the environment, and where shipped data lies.
#include "kernels/module.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include "kernels/launch.h"

namespace farscale {
namespace {

namespace fs = std::filesystem;

class SingleWorld final : public World {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  int local_rank() const override { return 0; }
  std::string library() const override { return "one process"; }
  std::vector<std::string> hosts() const override {
    std::array<char, 256> host{};
    ::gethostname(host.data(), host.size() - 1);
    return {host.data()};
  }
  void barrier() const override {}
  std::string broadcast(const std::string& text, int) const override { return text; }
  std::vector<std::string> gather(const std::string& text) const override { return {text}; }
  std::vector<double> reduce(std::vector<double> values, Reduction) const override { return values; }
  void collective(const CollectiveProblem& problem, const void* send, void* receive) const override {
    const auto* from = static_cast<const std::byte*>(send);
    if (send != receive) std::copy(from, from + problem.bytes, static_cast<std::byte*>(receive));
  }
  std::unique_ptr<World> duplicate() const override { return single_world(); }
  void on_lost(double, std::function<void(const std::string&)>) override {}
  void abort(int) override {}
};

std::vector<fs::path> module_folders() {
  std::vector<fs::path> folders;
  const char* path = std::getenv("FARSCALE_MODULE_PATH");
  if (path != nullptr && *path != '\0') folders.emplace_back(path);
  folders.emplace_back(executable_folder());
  folders.push_back(fs::path(executable_folder()).parent_path() / "lib" / "farscale");
  return folders;
}

// Opens farscale-<name>.so and finds `entry` in it; RTLD_GLOBAL because MPI opens its own plug-ins against itself.
Maybe<void*> open_symbol(const std::string& name, const char* entry) {
  const std::string file = fmt::format("farscale-{}.so", name);
  for (const fs::path& folder : module_folders()) {
    const fs::path path = folder / file;
    if (!fs::exists(path)) continue;
    void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (handle == nullptr) return Maybe<void*>::absent(fmt::format("{} does not open: {}", file, ::dlerror()));
    void* symbol = ::dlsym(handle, entry);
    if (symbol == nullptr) return Maybe<void*>::absent(fmt::format("{} has no {}", path.string(), entry));
    return symbol;
  }
  return Maybe<void*>::absent(fmt::format("{} was not built (looked in {})", file, executable_folder()));
}

template <typename Module>
Maybe<const Module*> open_module(const std::string& name, const char* entry) {
  Maybe<void*> symbol = open_symbol(name, entry);
  if (!symbol) return Maybe<const Module*>::absent(symbol.reason());
  const Module* module = reinterpret_cast<const Module* (*)()>(*symbol)();
  if (module->version != Module::kVersion) {
    return Maybe<const Module*>::absent(
        fmt::format("farscale-{}.so speaks version {}, this program {}", name, module->version, Module::kVersion));
  }
  return module;
}

const char* environment(const char* name) { return std::getenv(name); }

}  // namespace

std::unique_ptr<World> single_world() { return std::make_unique<SingleWorld>(); }

Maybe<std::unique_ptr<Backend>> open_backend(const std::string& name, World& world) {
  const auto module = open_module<BackendModule>(name, "farscale_backend");
  if (!module) return Maybe<std::unique_ptr<Backend>>::absent(module.reason());
  return (*module)->open(world);
}

std::unique_ptr<World> open_world() {
  const WorldLaunch launch = find_launch(environment);
  if (launch.module.empty()) return single_world();
  auto module = open_module<WorldModule>(launch.module, "farscale_world");
  const std::string why_not = module.reason();
  if (!module && launch.meets_by_tcp) module = open_module<WorldModule>("socket", "farscale_world");
  if (!module) {
    throw EnvironmentError(
        fmt::format("started by {}, but {}: install its development package and rebuild, or set RANK, WORLD_SIZE, "
                    "MASTER_ADDR and MASTER_PORT to meet without MPI",
                    launch.by, why_not));
  }
  auto world = (*module)->open();
  if (!world) throw EnvironmentError(world.reason());
  if ((*world)->size() == 1 && launch.size > 1) {
    throw EnvironmentError(fmt::format(
        "started as one of {} processes by {}, but {} finds itself alone: {} lone processes would be measured as if "
        "each were the whole run; use a launcher that this MPI answers to (Ubuntu 24.04's MPICH does not answer to its "
        "own: use Open MPI's there), or set FARSCALE_WORLD",
        launch.size, launch.by, (*world)->library(), launch.size));
  }
  return std::move(*world);
}

std::string executable_folder() {
  std::error_code ignored;
  const fs::path self = fs::read_symlink("/proc/self/exe", ignored);
  return self.empty() ? "." : self.parent_path().string();
}

std::string data_folder(const std::string& name) {
  std::vector<fs::path> roots;
  if (const char* data = std::getenv("FARSCALE_DATA")) roots.emplace_back(data);
  roots.emplace_back(fs::path(executable_folder()) / "share" / "farscale");  // a bundle's
  roots.emplace_back(fs::path(executable_folder()).parent_path() / "share" / "farscale");
  roots.emplace_back(FARSCALE_SOURCE_DIR);
  for (const fs::path& root : roots) {
    if (fs::is_directory(root / name)) return (root / name).string();
  }
  throw EnvironmentError(fmt::format("shipped data '{}' not found: set FARSCALE_DATA to the source tree", name));
}

}  // namespace farscale
