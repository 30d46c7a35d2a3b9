// farscale devices: what is here, what is missing, and why.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "bench/commands.h"
#include "bench/environment.h"
#include "kernels/format.h"
#include "kernels/module.h"

namespace farscale {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct BackendState {
  std::string name;
  std::string missing;  // why it does not open; empty when it does
  DeviceReport report;
};

BackendState look_at(const std::string& name, World& world) {
  BackendState state{.name = name, .missing = "", .report = {}};
  try {
    auto opened = open_backend(name, world);
    if (opened && *opened) {
      state.report = (*opened)->device();
    } else {
      state.missing = opened.reason();
    }
  } catch (const std::exception& error) {
    state.missing = error.what();
  }
  return state;
}

// The first of these programs on PATH, or "".
std::string on_path(const std::vector<std::string>& programs) {
  const char* path = std::getenv("PATH");
  for (const std::string& program : programs) {
    std::istringstream folders(path != nullptr ? path : "");
    for (std::string folder; std::getline(folders, folder, ':');) {
      const fs::path candidate = fs::path(folder) / program;
      if (::access(candidate.c_str(), X_OK) == 0) return candidate.string();
    }
  }
  return "";
}

struct MpiState {
  std::string name;      // "openmpi"
  std::string launcher;  // path, or ""
  bool module = false;   // farscale-mpi-<name>.so beside the program
};

std::vector<MpiState> look_at_mpi() {
  std::vector<MpiState> found;
  const std::array<std::pair<const char*, std::vector<std::string>>, 2> known = {
      std::pair{"openmpi", std::vector<std::string>{"mpirun.openmpi", "mpirun"}},
      std::pair{"mpich", std::vector<std::string>{"mpirun.mpich", "mpiexec.hydra"}}};
  for (const auto& [name, launchers] : known) {
    const std::string file = fmt::format("farscale-mpi-{}.so", name);
    const fs::path here = executable_folder();
    const char* first = std::getenv("FARSCALE_MODULE_PATH");
    const bool module = fs::exists(here / file) || fs::exists(here.parent_path() / "lib" / "farscale" / file) ||
                        (first != nullptr && fs::exists(fs::path(first) / file));
    found.push_back({.name = name, .launcher = on_path(launchers), .module = module});
  }
  return found;
}

std::string mpi_text(const MpiState& mpi) {
  if (mpi.module && !mpi.launcher.empty()) return "ready: " + mpi.launcher + " -np N farscale run";
  if (!mpi.module && mpi.launcher.empty()) return "missing: neither its launcher nor its module is here";
  return mpi.module
             ? "missing: its launcher (mpirun) is not on PATH"
             : fmt::format("missing: farscale-mpi-{}.so was not built (its development package was absent)", mpi.name);
}

void print_table(const std::vector<BackendState>& backends, const std::vector<MpiState>& mpis, const World& world) {
  TextTable table({"what", "state", "detail"});
  table.add({"program", "farscale", program_version()});
  table.add({"CPU", cpu_name(), "load " + load_average()});
  for (const BackendState& backend : backends) {
    table.add({"backend " + backend.name, backend.missing.empty() ? "ready" : "missing",
               backend.missing.empty() ? backend.report.name : backend.missing});
    if (!backend.missing.empty()) continue;
    if (backend.report.memory_bytes > 0) table.add({"", "memory usable", format_bytes(backend.report.memory_bytes)});
    if (backend.report.cache_bytes > 0) table.add({"", "last-level cache", format_bytes(backend.report.cache_bytes)});
    for (const auto& [key, value] : backend.report.facts) table.add({"", key, value});
  }
  for (const MpiState& mpi : mpis) {
    const std::string text = mpi_text(mpi);
    table.add({"MPI " + mpi.name, text.substr(0, text.find(':')), text.substr(text.find(':') + 2)});
  }
  table.add({"launched by", launcher_name(),
             fmt::format("{}, {} rank{}", world.library(), world.size(), world.size() == 1 ? "" : "s")});
  std::fputs(table.str().c_str(), stdout);
  for (const BackendState& backend : backends) {
    for (const std::string& warning : backend.report.warnings) std::fprintf(stderr, "warning: %s\n", warning.c_str());
  }
}

Json backend_json(const BackendState& backend) {
  Json json = {{"name", backend.name}, {"ready", backend.missing.empty()}};
  if (!backend.missing.empty()) {
    json["missing"] = backend.missing;
    return json;
  }
  json["device"] = backend.report.name;
  json["memory_bytes"] = static_cast<int64_t>(backend.report.memory_bytes);
  json["cache_bytes"] = backend.report.cache_bytes;
  json["facts"] = backend.report.facts.empty() ? Json::object() : Json(backend.report.facts);
  json["warnings"] = backend.report.warnings;
  return json;
}

void print_json(const std::vector<BackendState>& backends, const std::vector<MpiState>& mpis, const World& world) {
  Json json = {{"farscale", program_version()}, {"cpu", cpu_name()}, {"load_average", load_average()}};
  json["backends"] = Json::array();
  for (const BackendState& backend : backends) json["backends"].push_back(backend_json(backend));
  json["mpi"] = Json::array();
  for (const MpiState& mpi : mpis) {
    json["mpi"].push_back(
        {{"name", mpi.name}, {"module", mpi.module}, {"launcher", mpi.launcher}, {"state", mpi_text(mpi)}});
  }
  json["launched_by"] = launcher_name();
  json["library"] = world.library();
  json["ranks"] = world.size();
  json["hosts"] = world.hosts();
  std::fputs((json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n").c_str(), stdout);
}

void show_devices(bool json) {
  const std::unique_ptr<World> world = open_world();
  const std::vector<BackendState> backends = {look_at("cuda", *world), look_at("host", *world)};
  const std::vector<MpiState> mpis = look_at_mpi();
  if (world->rank() == 0) json ? print_json(backends, mpis, *world) : print_table(backends, mpis, *world);
  world->barrier();
}

}  // namespace

void add_devices_command(CLI::App& app, ExitCode&) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command =
      app.add_subcommand("devices", "what is here: backends, GPUs, CPUs, versions; what is missing and why");
  command->add_flag("--json", *json, "print one JSON document");
  command->footer("Example:\n  farscale devices");
  command->callback([json] { show_devices(*json); });
}

}  // namespace farscale
