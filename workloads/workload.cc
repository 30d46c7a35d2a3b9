// A workload's face: names, totals, and finding its file.
#include "workloads/workload.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "kernels/error.h"
#include "kernels/module.h"
#include "kernels/suggest.h"
#include "workloads/graph.h"
#include "workloads/read.h"

namespace farscale {

std::string_view name(Pass pass) {
  constexpr std::array<std::string_view, 5> kNames = {"forward", "recompute", "dgrad", "wgrad", "optimizer"};
  return kNames[static_cast<size_t>(pass)];
}

std::string_view name(KernelClass kind) {
  constexpr std::array<std::string_view, 9> kNames = {
      "convolution", "grouped convolution", "linear", "attention", "depthwise",
      "norm",        "elementwise",         "gather", "optimizer"};
  return kNames[static_cast<size_t>(kind)];
}

const std::string& Workload::name() const { return data_->name; }
const std::string& Workload::provenance() const { return data_->provenance; }
std::vector<std::string> Workload::sources() const { return data_->sources; }
int64_t Workload::parameters() const { return data_->parameters; }
int64_t Workload::trainable_parameters() const { return data_->trainable; }
double Workload::gradient_bytes() const { return double(data_->trainable) * bytes_per_element(data_->types.gradients); }
double Workload::forward_flops_per_sample() const { return data_->forward_flops; }
double Workload::training_flops_per_sample() const { return data_->training_flops; }
double Workload::frames_per_sample() const { return data_->inputs.frames; }
std::string Workload::sample_unit() const { return data_->sample_unit; }
int64_t Workload::default_micro_batch() const { return data_->micro_batch; }

std::vector<std::string> shipped_workloads() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(data_folder("workloads"))) {
    if (entry.path().extension() == ".toml") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Workload load_workload(const std::string& name_or_path) {
  if (name_or_path.ends_with(".toml") || name_or_path.find('/') != std::string::npos) {
    return read_workload(name_or_path);
  }
  const std::filesystem::path path = std::filesystem::path(data_folder("workloads")) / (name_or_path + ".toml");
  if (std::filesystem::exists(path)) return read_workload(path.string());
  throw InputError(unknown_name("workload", name_or_path, shipped_workloads()));
}

}  // namespace farscale
