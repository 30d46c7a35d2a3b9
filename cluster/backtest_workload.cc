// Names of networks to layer graphs.
#include "cluster/backtest_workload.h"

#include <fmt/format.h>

#include <cctype>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "workloads/workload.h"

namespace farscale {
namespace {

namespace fs = std::filesystem;

// "Llama 3.1 8B" -> "llama38b": letters and digits, a minor version left out.
std::string plain(const std::string& name) {
  std::string text;
  for (size_t i = 0; i < name.size(); ++i) {
    const auto c = static_cast<unsigned char>(name[i]);
    const bool minor = c == '.' && i > 0 && std::isdigit(static_cast<unsigned char>(name[i - 1]));
    if (minor) {
      while (i + 1 < name.size() && std::isdigit(static_cast<unsigned char>(name[i + 1]))) ++i;
    } else if (std::isalnum(c)) {
      text += char(std::tolower(c));
    }
  }
  return text;
}

struct Description {
  std::string source;
  double launches = 0, gradient_bytes = 0;
};

// The file of a workload named as a path, from the table's folder or from here; "" when the name is none.
std::string file_of(const ScalingRow& row) {
  if (!row.graph.ends_with(".toml")) return "";
  const fs::path beside = fs::path(row.where.substr(0, row.where.rfind(':'))).parent_path() / row.graph;
  return fs::exists(beside) ? beside.string() : row.graph;
}

// Kernels of one pass forward and backward, an operator each; the optimizer's count as bytes.
double launches_of(const Workload& workload) {
  double launches = 0;
  for (const StepTask& task : lower(workload, {.layout = {}, .fused = false}).tasks) {
    if (task.pass != Pass::kOptimizer) launches += double(task.count);
  }
  return launches;
}

std::optional<Description> describe(const ScalingRow& row) {
  const std::string file = file_of(row);
  const std::string name = file.empty() ? shipped_workload_like(row.graph) : file;
  if (name.empty()) return std::nullopt;
  const Workload workload = load_workload(name);
  return Description{name, launches_of(workload), workload.gradient_bytes()};
}

std::string listed(const std::set<std::string>& names) {
  std::string text;
  for (const std::string& one : names) text += (text.empty() ? "" : ", ") + one;
  return text;
}

}  // namespace

std::string shipped_workload_like(const std::string& name) {
  const std::string wanted = plain(name);
  for (const std::string& shipped : shipped_workloads()) {
    if (plain(shipped) == wanted) return shipped;
  }
  return "";
}

void describe_workloads(std::vector<ScalingRow>& rows, std::vector<std::string>& notes) {
  std::map<std::string, std::optional<Description>> known;
  std::set<std::string> graphs, columns, nobody;
  for (ScalingRow& row : rows) {
    auto found = known.find(row.graph);
    if (found == known.end()) found = known.emplace(row.graph, describe(row)).first;
    if (found->second) {
      row.workload.replace(0, row.graph.size(), found->second->source);  // however it is spelt
      row.launches = found->second->launches;
      row.gradient_bytes = found->second->gradient_bytes;
    }
    if (row.background) continue;
    if (found->second) {
      graphs.insert(found->second->source);
    } else {
      (row.parameters > 0 ? columns : nobody).insert(row.graph);
    }
  }
  if (!graphs.empty()) {
    notes.push_back("layer graphs say what floor under a step to expect (kernels to launch, gradients to exchange): " +
                    listed(graphs));
  }
  if (!columns.empty()) notes.push_back("told by their own columns (params): " + listed(columns));
  if (!nobody.empty()) {
    notes.push_back(fmt::format(
        "nobody described {}: fitted without a layer graph, its floor that of a typical network", listed(nobody)));
  }
}

}  // namespace farscale
