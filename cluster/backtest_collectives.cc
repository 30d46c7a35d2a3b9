// Collectives: every other size predicted from its neighbours, larger node counts from smaller ones of the same
// machines.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "cluster/backtest.h"
#include "cluster/collective_model.h"
#include "kernels/error.h"
#include "kernels/format.h"

namespace farscale {
namespace {

constexpr double kLeastBytes = 1048576;  // smaller sizes are latency only and read off the table

struct Point {
  double bytes, time_s;
  std::string where;
};
struct Curve {
  std::string system, collective;
  int64_t gpus = 0;
  int64_t per_node = 8;
  std::vector<Point> points;  // ascending in bytes, one a size
};

CollectiveKind kind_of(const std::string& name) {
  if (name == "alltoall") return CollectiveKind::kAllToAll;
  for (const CollectiveKind kind : kCollectiveKinds) {
    if (name == farscale::name(kind)) return kind;
  }
  return CollectiveKind::kAllReduce;
}

std::vector<Curve> read_curves(const CsvTable& table) {
  table.expect_columns({"system", "gpus", "collective", "bytes", "time_us", "busbw_gb_s"});
  std::map<std::string, Curve> curves;
  std::vector<std::string> order;
  for (size_t i = 0; i < table.rows(); ++i) {
    const auto bytes = table.maybe_number(i, "bytes", 1, 1e15);
    const auto gpus = table.maybe_number(i, "gpus", 1, 1e9);
    if (!bytes || !gpus || *gpus < 2) continue;
    const CollectiveKind kind = kind_of(table.text(i, "collective"));
    double time_s = table.maybe_number(i, "time_us", 0, 1e12).value_or(0) * 1e-6;
    const double bus = table.maybe_number(i, "busbw_gb_s", 0, 1e9).value_or(0) * 1e9;
    if (time_s <= 0 && bus > 0) time_s = bus_factor(kind, int64_t(*gpus)) * *bytes / bus;
    if (time_s <= 0) continue;
    const std::string key = fmt::format("{} {} {}", table.text(i, "system"), table.text(i, "collective"), *gpus);
    if (!curves.contains(key)) order.push_back(key);
    Curve& curve = curves[key];
    curve.system = table.text(i, "system"), curve.collective = table.text(i, "collective");
    curve.gpus = int64_t(*gpus);
    if (table.has("gpus_per_node"))
      curve.per_node = int64_t(table.maybe_number(i, "gpus_per_node", 1, 1e6).value_or(8));
    curve.points.push_back({*bytes, time_s, table.where(i)});
  }
  std::vector<Curve> all;
  for (const std::string& key : order) {
    Curve& curve = curves[key];
    std::stable_sort(curve.points.begin(), curve.points.end(),
                     [](const Point& a, const Point& b) { return a.bytes < b.bytes; });
    curve.points.erase(std::unique(curve.points.begin(), curve.points.end(),
                                   [](const Point& a, const Point& b) { return a.bytes == b.bytes; }),
                       curve.points.end());
    all.push_back(std::move(curve));
  }
  return all;
}

// Time at `bytes` through known points: straight in log time over log size; beyond the ends by latency + bandwidth of
// the last two points (time cannot fall with size, nor grow faster than size).
double through(const std::vector<Point>& known, double bytes) {
  if (known.size() == 1) return known[0].time_s * std::max(1.0, bytes / known[0].bytes);
  size_t after = 0;
  while (after < known.size() && known[after].bytes < bytes) ++after;
  const size_t a = after == 0 ? 0 : std::min(after - 1, known.size() - 2);
  const Point &left = known[a], &right = known[a + 1];
  const double slope = std::clamp(std::log(right.time_s / left.time_s) / std::log(right.bytes / left.bytes), 0.0, 1.0);
  if (after == known.size()) {
    const double per_byte = std::max(0.0, (right.time_s - left.time_s) / (right.bytes - left.bytes));
    return right.time_s + per_byte * (bytes - right.bytes);
  }
  return left.time_s * std::pow(bytes / left.bytes, slope);
}

BacktestRow row_of(const Curve& curve, const Point& point, std::string kind, std::vector<int64_t> fitted,
                   double predicted_s, double log_sigma, double linear_s) {
  const double reach = std::exp(1.645 * log_sigma);
  return {.kind = std::move(kind),
          .series = fmt::format("{} {}", curve.system, curve.collective),
          .where = point.where,
          .gpus = curve.gpus,
          .bytes = point.bytes,
          .fitted_on_gpus = std::move(fitted),
          .measured_s = point.time_s,
          .predicted_s = predicted_s,
          .low_s = predicted_s / reach,
          .high_s = predicted_s * reach,
          .linear_s = linear_s,
          .outlier = std::abs(std::log(predicted_s / point.time_s)) > 6 * log_sigma};
}

// Sizes from other sizes: the 1st, 3rd, 5th, … are known, the others predicted.
void predict_sizes(const Curve& curve, BacktestReport& report) {
  std::vector<Point> known;
  for (size_t i = 0; i < curve.points.size(); i += 2) known.push_back(curve.points[i]);
  if (known.size() < 2) return;
  for (size_t i = 1; i < curve.points.size(); i += 2) {
    const Point& point = curve.points[i];
    if (point.bytes < kLeastBytes) continue;
    const bool beyond = i + 1 >= curve.points.size();
    // The baseline: one bandwidth, that of the largest known size below.
    const Point& below =
        *std::find_if(known.rbegin(), known.rend(), [&](const Point& p) { return p.bytes < point.bytes; });
    report.rows.push_back(row_of(curve, point, "collectives, sizes", {curve.gpus}, through(known, point.bytes),
                                 beyond ? 0.10 : 0.065, below.time_s * point.bytes / below.bytes));
  }
}

// "GB200 NVL72, 72 GPUs (1 rack), …" and "GB200 NVL72, 144 GPUs …" are of one family: what stands before , or (.
std::string family_of(const Curve& curve) {
  std::string family = curve.system.substr(0, curve.system.find_first_of(",("));
  while (!family.empty() && family.back() == ' ') family.pop_back();
  return family + "/" + curve.collective;
}

// The shipped hardware that a system's name means, if any.
const Machine* machine_for(const std::string& system, std::map<std::string, Machine>& cache) {
  const std::string hardware = normalised_hardware(system);
  std::string shipped;
  if (hardware.starts_with("GB200"))
    shipped = "gb200-nvl72";
  else if (hardware.starts_with("GB300"))
    shipped = "gb300-nvl72";
  else if (hardware.starts_with("B300"))
    shipped = "b300";
  else if (hardware.starts_with("B200"))
    shipped = "b200";
  else if (hardware.starts_with("H200"))
    shipped = "h200";
  else if (hardware.starts_with("H100"))
    shipped = "h100-sxm";
  else if (hardware.starts_with("A100"))
    shipped = "a100-80gb";
  else if (hardware.starts_with("V100"))
    shipped = "v100";
  else if (hardware.starts_with("MI300X"))
    shipped = "mi300x";
  else if (hardware.starts_with("MI355X"))
    shipped = "mi355x";
  if (shipped.empty()) return nullptr;
  return &cache.try_emplace(shipped, load_hardware(shipped)).first->second;
}

double prior_time(const Machine& machine, const Curve& curve, double bytes) {
  const Group group{curve.gpus, std::min(curve.gpus, std::max(curve.per_node, machine.data().scale_up_domain))};
  return collective_cost(kind_of(curve.collective), median_links(machine.data()), group).at(bytes);
}

// More nodes from fewer: the library's prior at the larger count, corrected by what it missed at the same size (or the
// nearest one measured) on the largest smaller count. Without a known machine, bus bandwidth is carried over.
double grown_time(const Curve& smaller, const Curve& larger, const Machine* machine, double bytes) {
  const CollectiveKind kind = kind_of(larger.collective);
  if (machine == nullptr) {
    return through(smaller.points, bytes) * bus_factor(kind, larger.gpus) / bus_factor(kind, smaller.gpus);
  }
  const double seen = std::clamp(bytes, smaller.points.front().bytes, smaller.points.back().bytes);
  const double missed = through(smaller.points, seen) / prior_time(*machine, smaller, seen);
  return missed * prior_time(*machine, larger, bytes);
}

// Who built the network, as far as the system's name tells: rows of different fabrics say nothing about each other.
std::string fabric_of(const std::string& system) {
  constexpr const char* kFabrics[] = {"CoreWeave", "p4de", "p4d", "p5", "OCI", "GCP", "Azure", "Nebius"};
  for (const char* fabric : kFabrics) {
    if (system.find(fabric) != std::string::npos) return fabric;
  }
  return "";
}

// The largest smaller curve that may speak for `larger`: one of the same fabric, or of one domain, which has none.
const Curve* nearest_smaller(const std::vector<const Curve*>& family, const Curve& larger) {
  const std::string fabric = fabric_of(larger.system);
  const Curve* best = nullptr;
  for (const Curve* one : family) {
    if (one->gpus >= larger.gpus) continue;
    const bool one_node = one->gpus <= one->per_node;
    if (!one_node && (fabric.empty() || fabric_of(one->system) != fabric)) continue;
    if (best == nullptr || one->gpus > best->gpus) best = one;
  }
  return best;
}

void predict_nodes(const std::vector<const Curve*>& family, std::map<std::string, Machine>& cache,
                   BacktestReport& report) {
  for (const Curve* larger : family) {
    const Curve* smaller = nearest_smaller(family, *larger);
    if (smaller == nullptr) continue;
    const CollectiveKind kind = kind_of(larger->collective);
    const Machine* machine = machine_for(larger->system, cache);
    // From one node to a network that no row has shown: the data sheet speaks, with the range that deserves.
    const bool leap = smaller->gpus <= smaller->per_node;
    const double log_sigma = (leap ? 0.5 : 0.15) + 0.05 * std::log2(double(larger->gpus) / double(smaller->gpus));
    for (const Point& point : larger->points) {
      if (point.bytes < kLeastBytes) continue;
      const double carried =
          through(smaller->points, point.bytes) * bus_factor(kind, larger->gpus) / bus_factor(kind, smaller->gpus);
      report.rows.push_back(row_of(*larger, point, leap ? "collectives, first network" : "collectives, nodes",
                                   {smaller->gpus}, grown_time(*smaller, *larger, machine, point.bytes), log_sigma,
                                   carried));
    }
  }
}

}  // namespace

void backtest_collectives(const CsvTable& table, BacktestReport& report) {
  const std::vector<Curve> curves = read_curves(table);
  std::map<std::string, std::vector<const Curve*>> families;
  for (const Curve& curve : curves) {
    predict_sizes(curve, report);
    families[family_of(curve)].push_back(&curve);
  }
  std::map<std::string, Machine> cache;
  for (const auto& [name, family] : families) predict_nodes(family, cache, report);
}

}  // namespace farscale
