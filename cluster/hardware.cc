// Reading the hardware catalogue: cluster/hardware/*.toml with the shared shares of cluster/efficiency.toml.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "cluster/machine.h"
#include "kernels/module.h"
#include "kernels/strict_toml.h"
#include "kernels/suggest.h"

namespace farscale {
namespace {

namespace fs = std::filesystem;

Quantity scaled(Quantity quantity, double factor) {
  quantity.value = {quantity.value.p05 * factor, quantity.value.p50 * factor, quantity.value.p95 * factor};
  return quantity;
}

// Overrides `efficiency` by the keys present in `table`.
void read_efficiency(const TomlTable& table, Efficiency& efficiency) {
  constexpr Range kShare{1e-6, 2};
  constexpr std::pair<const char*, KernelClass> kTensor[] = {{"linear", KernelClass::kLinear},
                                                             {"convolution", KernelClass::kConvolution},
                                                             {"grouped_convolution", KernelClass::kGroupedConvolution},
                                                             {"attention", KernelClass::kAttention}};
  for (const auto& [key, kind] : kTensor) {
    efficiency.tensor[kind] = read_quantity(table, key, kShare, efficiency.tensor[kind]);
  }
  efficiency.memory = read_quantity(table, "memory", kShare, efficiency.memory);
  efficiency.gather = read_quantity(table, "gather", kShare, efficiency.gather);
  efficiency.launch_s = read_quantity(table, "launch_s", kNotNegative, efficiency.launch_s);
  efficiency.overhead = read_quantity(table, "overhead", {1, 10}, efficiency.overhead);
}

using ByProtocol = std::array<double, kProtocols>;

ByProtocol read_protocols(const TomlTable& table, std::string_view key, double unit) {
  const std::vector<double> values = table.numbers(key, kPositive);
  if (values.size() != kProtocols) table.fail(key, "expected three numbers: low latency, low latency 128, simple");
  return {values[0] * unit, values[1] * unit, values[2] * unit};
}

AlgorithmLatency read_latency(const TomlTable& table, const std::string& algorithm) {
  return {.base_s = read_protocols(table, algorithm + "_base_us", 1e-6),
          .scale_up_s = read_protocols(table, algorithm + "_scale_up_us", 1e-6),
          .network_s = read_protocols(table, algorithm + "_network_us", 1e-6)};
}

CollectiveConstants read_collectives(const TomlTable& table) {
  constexpr Range kShare{1e-6, 4};
  return {.ring = read_latency(table, "ring"),
          .tree = read_latency(table, "tree"),
          .switch_scale_up_s = 1e-6 * table.number("switch_scale_up_us", kPositive),
          .switch_network_s = 1e-6 * table.number("switch_network_us", kPositive),
          .sharp_network_s = 1e-6 * table.number("sharp_network_us", kPositive),
          .gather_base_s = 1e-6 * table.number("gather_base_us", kPositive),
          .gather_depth_s = 1e-6 * table.number("gather_depth_us", kPositive),
          .gather_hop_s = 1e-6 * table.number("gather_hop_us", kPositive),
          .ring_protocol = read_protocols(table, "ring_protocol", 1),
          .tree_protocol = read_protocols(table, "tree_protocol", 1),
          .tree_correction = {table.numbers("tree_correction_low_latency", kPositive),
                              table.numbers("tree_correction_low_latency_128", kPositive),
                              table.numbers("tree_correction_simple", kPositive)},
          .plateau = table.number("plateau", {1, 10}),
          .channels = table.number("channels", {1, 1000}),
          .latency_scale = read_quantity(table, "latency_scale", kPositive),
          .ring_share = read_quantity(table, "ring_share", kShare),
          .switch_share = read_quantity(table, "switch_share", kShare),
          .network_share = read_quantity(table, "network_share", kShare),
          .network_channels = read_quantity(table, "network_channels", {1, 1e4}),
          .interference = read_quantity(table, "interference", kNotNegative),
          .spine_divisor = read_quantity(table, "spine_divisor", {1, 100}),
          .spine_hop_factor = read_quantity(table, "spine_hop_factor", {1, 100}),
          .pod_ranks = table.integer("pod_ranks", {1, 1e9}),
          .pod = {.beyond_ranks = table.integer("rail_ranks", {1, 1e9}),
                  .collisions = read_quantity(table, "pod_collisions", {1, 100}),
                  .hop_factor = read_quantity(table, "pod_hop_factor", {1, 100})},
          .site = {.beyond_ranks = table.integer("site_ranks", {1, 1e9}),
                   .collisions = read_quantity(table, "site_collisions", {1, 100}),
                   .hop_factor = read_quantity(table, "site_hop_factor", {1, 1000})},
          .scatter = read_quantity(table, "scatter", {0, 1}),
          .published_ranks = table.integer("published_ranks", {1, 1e9})};
}

RankSpread read_spread(const TomlTable& table) {
  return {.persistent = read_quantity(table, "persistent", {0, 1}),
          .transient = read_quantity(table, "transient", {0, 1}),
          .tail = read_quantity(table, "tail", {0, 1}),
          .shape = read_quantity(table, "shape", {0, 0.45})};
}

void read_rates(const TomlTable& table, Machine::Data& data) {
  for (const std::string& key : table.keys()) {
    NumberType type{};
    try {
      type = parse_number_type(key);
    } catch (const InputError& error) {
      table.fail(key, error.what());
    }
    data.flops_per_s[type] = scaled(read_quantity(table, key, kPositive), 1e12);
  }
  if (data.flops_per_s.empty()) table.fail("bf16", "expected the dense rate of at least one number type");
}

// How the network above the domains is built, where a file says so.
void read_tiers(const TomlTable& network, CollectiveConstants& c) {
  constexpr Range kGpus{1, 1e9}, kRatio{1, 1000};
  c.pod.beyond_ranks = network.integer("rail_gpus", kGpus, c.pod.beyond_ranks);
  c.pod_ranks = network.integer("pod_gpus", kGpus, c.pod_ranks);
  c.site.beyond_ranks = network.integer("site_gpus", kGpus, c.site.beyond_ranks);
  c.pod.oversubscription = network.number("pod_oversubscription", kRatio, c.pod.oversubscription);
  c.spine_oversubscription = network.number("spine_oversubscription", kRatio, c.spine_oversubscription);
  c.site.oversubscription = network.number("site_oversubscription", kRatio, c.site.oversubscription);
  if (c.pod.beyond_ranks > c.pod_ranks || c.pod_ranks > c.site.beyond_ranks) {
    network.fail("pod_gpus", "expected rail_gpus <= pod_gpus <= site_gpus");
  }
}

void read_links(const TomlTable& file, Machine::Data& data) {
  const TomlTable scale_up = file.table("scale_up");
  data.scale_up_domain = scale_up.integer("domain", {1, 1e6});
  data.scale_up_bytes_per_s = scaled(read_quantity(scale_up, "bandwidth_gb_per_s", kPositive), 1e9);
  data.reduces_in_switch = scale_up.flag("reduces_in_switch", false);
  const TomlTable network = file.table("network");
  data.nic_bytes_per_s = scaled(read_quantity(network, "nic_gbit_per_s", kPositive), 1e9 / 8);
  read_tiers(network, data.collectives);
}

}  // namespace

void read_shared(Machine::Data& data) {
  const TomlTable file = read_toml(data_folder("cluster") + "/efficiency.toml");
  const TomlTable efficiency = file.table("efficiency");
  read_efficiency(efficiency, data.efficiency);
  data.model_log_sigma = efficiency.number("spread", {0, 1});
  data.collectives = read_collectives(file.table("collectives"));
  data.ranks = read_spread(file.table("ranks"));
  file.finish();
}

namespace {

Machine read_hardware(const std::string& path) {
  auto data = std::make_shared<Machine::Data>();
  read_shared(*data);
  const TomlTable file = read_toml(path);
  data->path = path;
  data->name = file.text("name");
  data->title = file.text("title");
  data->kind = file.choice("kind", {"gpu"}, "gpu");
  data->generation = file.choice("generation", {"volta", "ampere", "hopper", "blackwell"}, "");
  data->gpus_per_node = int(file.integer("gpus_per_node", {1, 10000}));
  data->multiprocessors = int(file.integer("multiprocessors", {1, 1e6}));
  data->training_type = parse_number_type(file.text("training_type", "bf16"));
  read_rates(file.table("dense_tflop_per_s"), *data);
  const TomlTable memory = file.table("memory");
  data->memory_bytes = scaled(read_quantity(memory, "capacity_gb", kPositive), 1e9);
  data->memory_bytes_per_s = scaled(read_quantity(memory, "bandwidth_tb_per_s", kPositive), 1e12);
  data->cache_bytes = scaled(read_quantity(memory, "cache_mb", kNotNegative), 1e6);
  read_links(file, *data);
  const TomlTable power = file.table("power");
  data->limit_w = read_quantity(power, "limit_w", kPositive);
  data->gpu_w = read_quantity(power, "gpu_w", kPositive);
  data->node_w = read_quantity(power, "node_w", kPositive);
  if (const auto efficiency = file.maybe_table("efficiency")) read_efficiency(*efficiency, data->efficiency);
  file.finish();
  return Machine(data);
}

}  // namespace

const std::string& Machine::name() const { return data_->name; }
int Machine::gpus_per_node() const { return data_->gpus_per_node; }
const Quantity& Machine::gpu_power_w() const { return data_->gpu_w; }
const Quantity& Machine::node_power_w() const { return data_->node_w; }

double Machine::peak_flops_per_s(NumberType type) const {
  const auto found = data_->flops_per_s.find(type);
  return found == data_->flops_per_s.end() ? 0 : found->second.value.p50;
}

NumberType available_type(const Machine::Data& machine, NumberType wanted) {
  const auto has = [&](NumberType type) { return machine.flops_per_s.contains(type); };
  if (has(wanted)) return wanted;
  if (wanted == NumberType::kBf16 && has(NumberType::kFp16)) return NumberType::kFp16;
  if (wanted == NumberType::kFp16 && has(NumberType::kBf16)) return NumberType::kBf16;
  if (wanted == NumberType::kFp8E5M2 && has(NumberType::kFp8E4M3)) return NumberType::kFp8E4M3;
  if (wanted == NumberType::kTf32 && has(NumberType::kFp32)) return NumberType::kFp32;
  if (has(machine.training_type)) return machine.training_type;
  return machine.flops_per_s.empty() ? wanted : machine.flops_per_s.begin()->first;
}

std::vector<std::string> shipped_hardware() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(data_folder("cluster/hardware"))) {
    if (entry.path().extension() == ".toml") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Machine load_hardware(const std::string& name_or_path) {
  if (name_or_path.ends_with(".toml") || name_or_path.find('/') != std::string::npos)
    return read_hardware(name_or_path);
  if (name_or_path == "host") {
    throw InputError(
        "hardware 'host' is measured, not shipped: farscale run quick --out run.json, farscale fit run.json -o "
        "model.json, and then --model model.json");
  }
  const std::vector<std::string> names = shipped_hardware();
  if (std::find(names.begin(), names.end(), name_or_path) == names.end()) {
    throw InputError(unknown_name("hardware", name_or_path, names));
  }
  return read_hardware(data_folder("cluster/hardware") + "/" + name_or_path + ".toml");
}

}  // namespace farscale
