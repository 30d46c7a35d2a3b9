// Reading the launchers' traces.
#include "kernels/launch.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>

#include "kernels/error.h"
#include "kernels/suggest.h"

namespace farscale {
namespace {

namespace fs = std::filesystem;

constexpr int kTorchPort = 29500;  // torchrun's default --master-port
constexpr int kFirstPort = 16384;

class Variables {
 public:
  explicit Variables(const Environment& environment) : environment_(environment) {}

  bool has(const char* name) const { return !text(name).empty(); }
  std::string text(const char* name) const {
    const char* value = environment_(name);
    return value == nullptr ? "" : value;
  }
  std::optional<int64_t> number(const char* name) const {
    const std::string value = text(name);
    int64_t parsed = 0;
    const auto [end, code] = std::from_chars(value.data(), value.data() + value.size(), parsed);
    if (value.empty() || code != std::errc() || end != value.data() + value.size()) return std::nullopt;
    return parsed;
  }
  int count(const char* name) const { return static_cast<int>(number(name).value_or(0)); }

  // A number that must be there, within [least, most].
  int required(const char* name, int64_t least, int64_t most, const std::string& because) const {
    if (!has(name)) throw EnvironmentError(fmt::format("{} is not set: {}", name, because));
    const auto value = number(name);
    if (value && *value >= least && *value <= most) return static_cast<int>(*value);
    throw EnvironmentError(
        fmt::format("{} is '{}': expected a whole number from {} to {}", name, text(name), least, most));
  }

 private:
  const Environment& environment_;
};

bool by_torchrun(const Variables& v) { return v.count("WORLD_SIZE") > 1 || (v.has("RANK") && v.has("MASTER_ADDR")); }

int slurm_tasks(const Variables& v) {
  return v.count(v.has("SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS");
}

// A script of sbatch runs once, whatever SLURM_NTASKS says of the steps it may start.
bool by_slurm(const Variables& v) {
  const bool script = v.text("ENVIRONMENT") == "BATCH" && !v.has("SLURM_STEP_ID");
  return v.has("SLURM_PROCID") && slurm_tasks(v) > 1 && !script;
}

WorldLaunch by_name(const std::string& name, const Variables& v) {
  const bool tcp = by_torchrun(v) || by_slurm(v);
  if (name == "alone") return {};
  if (name == "openmpi") return {"mpi-openmpi", "FARSCALE_WORLD=openmpi", 0, tcp};
  if (name == "mpich") return {"mpi-mpich", "FARSCALE_WORLD=mpich", 0, tcp};
  if (name == "tcp") return {"socket", "FARSCALE_WORLD=tcp", 0, true};
  const std::vector<std::string> known = {"openmpi", "mpich", "tcp", "alone"};
  throw InputError("FARSCALE_WORLD: " + unknown_name("world", name, known));
}

Rendezvous checked(Rendezvous where) {
  if (where.rank < where.size) return where;
  throw EnvironmentError(fmt::format("rank {} of {}: ranks count from 0", where.rank, where.size));
}

int torchrun_port(const Variables& v) {
  const int port = v.required("MASTER_PORT", 1, 65534, "WORLD_SIZE needs it: a free port of rank 0's host");
  return v.text("TORCHELASTIC_USE_AGENT_STORE") == "True" ? port + 1 : port;
}

Rendezvous from_torchrun(const Variables& v) {
  Rendezvous where;
  where.size = v.required("WORLD_SIZE", 1, 1 << 24, "RANK and MASTER_ADDR are: how many ranks there are");
  where.rank = v.required("RANK", 0, 1 << 24, "WORLD_SIZE is: which of the ranks this process is, from 0");
  where.host = v.text("MASTER_ADDR");
  if (where.host.empty()) throw EnvironmentError("MASTER_ADDR is not set: WORLD_SIZE needs it, the host of rank 0");
  where.port = torchrun_port(v);
  if (v.has("LOCAL_RANK")) where.local_rank = v.required("LOCAL_RANK", 0, 1 << 24, "");
  return checked(where);
}

Rendezvous from_slurm(const Variables& v) {
  Rendezvous where{.rank = v.count("SLURM_PROCID"), .size = slurm_tasks(v)};
  if (v.number("SLURM_LOCALID")) where.local_rank = v.count("SLURM_LOCALID");
  where.host = v.text("MASTER_ADDR");
  if (where.host.empty()) {
    where.host = first_host(v.text(v.has("SLURM_STEP_NODELIST") ? "SLURM_STEP_NODELIST" : "SLURM_JOB_NODELIST"));
  }
  if (where.host.empty()) {
    throw EnvironmentError(
        "neither SLURM_STEP_NODELIST, SLURM_JOB_NODELIST nor MASTER_ADDR is set: "
        "SLURM_PROCID and SLURM_NTASKS need one, for the host of rank 0");
  }
  const int64_t job = v.number("SLURM_JOB_ID").value_or(-1), step = v.number("SLURM_STEP_ID").value_or(0);
  where.port = job < 0 ? kTorchPort : kFirstPort + static_cast<int>((job + 257 * step) % kFirstPort);
  if (v.has("MASTER_PORT")) where.port = v.required("MASTER_PORT", 1, 65535, "");
  return checked(where);
}

// Field 4 of /proc/<pid>/stat, counted after the name's last bracket.
int parent_of(int pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string line;
  std::getline(file, line);
  std::istringstream words(line.substr(std::min(line.size(), line.rfind(')') + 1)));
  std::string state;
  int parent = -1;
  words >> state >> parent;
  return parent;
}

}  // namespace

WorldLaunch find_launch(const Environment& environment) {
  const Variables v(environment);
  if (v.has("FARSCALE_WORLD")) return by_name(v.text("FARSCALE_WORLD"), v);
  const bool tcp = by_torchrun(v) || by_slurm(v);
  if (v.has("OMPI_COMM_WORLD_SIZE") || v.has("PMIX_RANK")) {
    const int size = v.has("OMPI_COMM_WORLD_SIZE") ? v.count("OMPI_COMM_WORLD_SIZE") : slurm_tasks(v);
    return {"mpi-openmpi", "Open MPI's launcher", size, tcp};
  }
  if (v.has("PMI_RANK") || v.has("PMI_FD")) return {"mpi-mpich", "MPICH's launcher", v.count("PMI_SIZE"), tcp};
  if (by_torchrun(v)) return {"socket", "torchrun's variables", v.count("WORLD_SIZE"), true};
  if (by_slurm(v)) return {"socket", "Slurm", slurm_tasks(v), true};
  return {};
}

Rendezvous find_rendezvous(const Environment& environment) {
  const Variables v(environment);
  if (by_torchrun(v)) return from_torchrun(v);
  if (by_slurm(v)) return from_slurm(v);
  throw EnvironmentError(
      "a world over TCP needs RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, or Slurm's SLURM_PROCID, "
      "SLURM_NTASKS and SLURM_JOB_NODELIST: none of them is set");
}

std::string first_host(const std::string& list) {
  std::string host;
  bool inside = false, chosen = false;  // of brackets; their first number has been taken
  for (const char c : list) {
    if (c == '[' || c == ']') {
      inside = c == '[';
      chosen = false;
    } else if (!inside && c == ',') {
      break;
    } else if (inside && (c == ',' || c == '-')) {
      chosen = true;
    } else if (!chosen) {
      host += c;
    }
  }
  return host;
}

std::vector<int> siblings() {
  std::error_code ignored;
  const fs::path self = fs::read_symlink("/proc/self/exe", ignored);
  std::vector<int> found;
  for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
    const int pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0 || pid == ::getpid() || parent_of(pid) != ::getppid()) continue;
    if (!self.empty() && fs::read_symlink(entry.path() / "exe", ignored) == self) found.push_back(pid);
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace farscale
