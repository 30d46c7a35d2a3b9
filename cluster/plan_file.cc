// Reading plan files: the file as a whole, what trains, what fails, what it costs.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "cluster/plan_reader.h"
#include "cluster/source.h"
#include "kernels/error.h"
#include "kernels/module.h"
#include "kernels/suggest.h"
#include "workloads/workload.h"

namespace farscale {
namespace {

namespace fs = std::filesystem;

constexpr Range kYears{0.1, 50};
constexpr Range kDays{0, kMostPlanDays};
constexpr Range kSeconds{0, 86400};

std::string range_text(const Estimate& value) {
  if (std::isinf(value.p50)) return "without limit";
  if (value.p05 == value.p95) return fmt::format("{:.6g}", value.p50);
  return fmt::format("{:.6g} ({:.6g} to {:.6g})", value.p50, value.p05, value.p95);
}

bool is_path(const std::string& name) { return name.find('/') != std::string::npos || name.ends_with(".toml"); }

std::string label(const std::string& owner, std::string_view key) {
  std::string words(key);
  std::replace(words.begin(), words.end(), '_', ' ');
  return owner + ", " + words;
}

// Counts of GPUs are what has this range.
void check_whole(const TomlTable& table, std::string_view key, Range range, const Estimate& value) {
  if (range.least != kGpus.least || range.most != kGpus.most) return;
  for (const double count : {value.p05, value.p50, value.p95})
    if (count != std::floor(count)) table.fail(key, fmt::format("expected a whole number of GPUs, not {}", count));
}

std::string stem(const std::string& path) { return fs::path(path).stem().string(); }

}  // namespace

Quantity assumed_quantity(double low, double value, double high, const char* why) {
  return {.value = {low, value, high}, .evidence = Evidence::kAssumed, .source = std::string("assumption: ") + why};
}

std::string shipped_name(const TomlTable& table, std::string_view key, std::string_view what, std::string name,
                         const std::vector<std::string>& shipped) {
  if (!is_path(name) && std::find(shipped.begin(), shipped.end(), name) == shipped.end())
    table.fail(key, unknown_name(what, name, shipped));
  return name;
}

PlanReader::PlanReader(const TomlTable& root, std::string name, std::string path) : root_(root) {
  plan_.name = std::move(name);
  plan_.path = std::move(path);
}

Plan PlanReader::read() {
  read_span();
  plan_.training = read_training(root_.table("training"));
  plan_.state_power = read_state_power(root_.maybe_table("state_power"));
  plan_.prices = read_prices(root_.maybe_table("prices"));
  const MaybeTable pipeline = root_.maybe_table("pipeline");
  for (const TomlTable& site : root_.tables("site")) read_site(site, pipeline);
  if (plan_.sites.empty()) root_.fail("site", "a plan needs at least one [[site]]");
  plan_.failures = read_failures(root_.maybe_table("failures"));
  for (const TomlTable& delivery : root_.tables("delivery")) read_delivery(delivery);
  for (const TomlTable& rental : root_.tables("rental")) read_rental(rental);
  for (const TomlTable& transfer : root_.tables("transfer")) read_transfer(transfer);
  for (const TomlTable& job : root_.tables("job")) read_job(job);
  std::stable_sort(plan_.jobs.begin(), plan_.jobs.end(),
                   [](const Job& a, const Job& b) { return a.priority > b.priority; });
  check_sites_have_gpus();
  check_prices_are_known();
  root_.finish();
  return std::move(plan_);
}

Quantity PlanReader::keep(const std::string& what, std::string_view unit, Quantity quantity) {
  plan_.evidence.push_back({fmt::format("{}: {}{}{}", what, range_text(quantity.value), unit.empty() ? "" : " ", unit),
                            quantity.evidence, quantity.source});
  return quantity;
}

Quantity PlanReader::figure(const TomlTable& table, std::string_view key, Range range, const std::string& owner,
                            std::string_view unit) {
  Quantity quantity = read_quantity(table, key, range);
  check_whole(table, key, range, quantity.value);
  return keep(label(owner, key), unit, std::move(quantity));
}

Quantity PlanReader::figure(const MaybeTable& table, std::string_view key, Range range, const std::string& owner,
                            std::string_view unit, const Quantity& fallback) {
  if (table && table->has(key)) return figure(*table, key, range, owner, unit);
  return keep(label(owner, key), unit, fallback);
}

std::optional<Quantity> PlanReader::maybe_figure(const TomlTable& table, std::string_view key, Range range,
                                                 const std::string& owner, std::string_view unit) {
  if (!table.has(key)) return {};
  return figure(table, key, range, owner, unit);
}

PlanDate PlanReader::date(const TomlTable& table, std::string_view key, const std::string& owner) {
  if (table.shape(key) == "date")
    table.fail(key, "has no source: write { date = 2024-10-01, late_days = 30, source = \"…\" }");
  const TomlTable inner = table.table(key);
  if (!inner.has("source")) table.fail(key, "has no source: say who gave this date, or \"assumption: …\"");
  const Day day = inner.date("date");
  const double days = double(day.time_since_epoch().count());
  const double early = inner.number("early_days", kDays, 0), late = inner.number("late_days", kDays, 0);
  const double typical = inner.number("typical_late_days", {-early, late}, 0);
  Quantity quantity{.value = {days - early, days + typical, days + late}, .source = read_source(inner)};
  quantity.evidence = evidence_of(quantity.source, early > 0 || late > 0);
  std::string text = fmt::format("{}: {}", label(owner, key), iso_date(day));
  if (early > 0 || late > 0) text += fmt::format(" ({:g} days early to {:g} late)", early, late);
  plan_.evidence.push_back({text, quantity.evidence, quantity.source});
  return {quantity};
}

void PlanReader::read_span() {
  plan_.title = root_.text("title");
  plan_.notes = root_.texts("notes");
  plan_.start = root_.date("start");
  plan_.end = root_.date("end");
  if (plan_.end < plan_.start)
    root_.fail("end", fmt::format("expected a day after the start, {}", iso_date(plan_.start)));
  if (plan_.days() > kMostPlanDays) root_.fail("end", "a plan can be ten years long at most");
}

Training PlanReader::read_training(const TomlTable& table) {
  Training training;
  training.workload = shipped_name(table, "workload", "workload", table.text("workload"), shipped_workloads());
  training.layout = table.text("layout", "auto");
  training.layout_where = table.where("layout");
  training.jobs_where = table.where("jobs");
  if (table.shape("jobs") == "text") {
    training.jobs = table.choice("jobs", {"auto", "one"}) == "one" ? 1 : 0;
  } else {
    training.jobs = table.integer("jobs", {1, 100000}, 0);
  }
  training.spare_share = figure(table, "spare_share", {0, 0.5}, "training", "of the GPUs in service");
  training.samples_per_training = maybe_figure(table, "samples_per_training", kPositive, "training", "samples");
  training.critical_batch = maybe_figure(table, "critical_batch", {1, 1e12}, "training", "samples");
  return training;
}

// The rates that the model brings along were counted on A100 and H100: for other hardware they are assumptions.
FailureModel PlanReader::failures_of_hardware() const {
  FailureModel model = default_failure_model();
  const auto was_counted = [](const Site& site) {
    return site.hardware.rfind("a100", 0) == 0 || site.hardware.rfind("h100", 0) == 0;
  };
  if (std::all_of(plan_.sites.begin(), plan_.sites.end(), was_counted)) return model;
  for (Quantity* rate : {&model.node_failures_per_day, &model.silent_per_node_day})
    if (rate->evidence != Evidence::kAssumed)
      rate->evidence = Evidence::kAssumed, rate->source = "assumption: as of A100 and H100: " + rate->source;
  return model;
}

FailureModel PlanReader::read_failures(const MaybeTable& table) {
  FailureModel model = failures_of_hardware();
  const auto read = [&](std::string_view key, Range range, std::string_view unit, Quantity& quantity) {
    quantity = figure(table, key, range, "failures", unit, quantity);
  };
  read("node_failures_per_day", {1e-9, 10}, "per node", model.node_failures_per_day);
  read("checkpoint_s", kSeconds, "s", model.checkpoint_s);
  read("checkpoint_s_per_1000_nodes", kSeconds, "s", model.checkpoint_s_per_1000_nodes);
  read("restart_s", kSeconds, "s", model.restart_s);
  read("restart_s_per_1000_nodes", kSeconds, "s", model.restart_s_per_1000_nodes);
  read("silent_per_node_day", {0, 10}, "per node", model.silent_per_node_day);
  read("silent_found_s", {0, 30.0 * 86400}, "s", model.silent_found_s);
  model.isolated = table && table->flag("isolated", false);
  if (!model.isolated) {
    for (const char* key : {"resync_s", "job_wide_share"})
      if (table && table->has(key)) table->fail(key, "expected only with isolated = true");
    return model;
  }
  read("resync_s", kSeconds, "s", model.resync_s);
  read("job_wide_share", kFraction, "of the failures", model.job_wide_share);
  return model;
}

StatePower PlanReader::read_state_power(const MaybeTable& table) {
  const auto read = [&](std::string_view key, const Quantity& fallback) {
    return figure(table, key, kFraction, "power", "of that at training load", fallback);
  };
  return {.racked = read("racked", assumed_quantity(0, 0, 0, "switched on when burn-in begins")),
          .burn_in = read("burn_in", assumed_quantity(1, 1, 1, "burn-in runs at training load")),
          .repair = read("repair", assumed_quantity(0, 0, 0, "switched off for repair")),
          .spare = read("spare", assumed_quantity(0.2, 0.3, 0.5, "hot spares idle"))};
}

PlanPrices PlanReader::read_prices(const MaybeTable& table) {
  PlanPrices prices{
      .vendor_share = assumed_quantity(0.6, 0.667, 0.8, "share of a cluster's cost that is the GPU vendor's"),
      .usd_per_kwh = assumed_quantity(0.04, 0.07, 0.1, "industrial contracts in the United States"),
      .lifetime_years = assumed_quantity(3, 4, 6, "usual depreciation of servers")};
  const auto read = [&](std::string_view key, Range range, std::string_view unit, Quantity& quantity) {
    quantity = figure(table, key, range, "prices", unit, quantity);
  };
  if (table) read_parts(*table, prices);
  if (!prices.parts) read("vendor_share", {0.05, 1}, "of the cluster's cost", prices.vendor_share);
  read("usd_per_kwh", {0, 10}, "USD/kWh", prices.usd_per_kwh);
  read("lifetime_years", kYears, "years", prices.lifetime_years);
  return prices;
}

void PlanReader::read_parts(const TomlTable& table, PlanPrices& prices) {
  if (!table.has("node_usd_per_gpu") && !table.has("network_usd_per_gpu") && !table.has("building_usd_per_mw")) return;
  if (table.has("vendor_share"))
    table.fail("vendor_share",
               "expected either vendor_share or node_usd_per_gpu, network_usd_per_gpu and "
               "building_usd_per_mw");
  prices.parts = ClusterParts{
      .node_usd_per_gpu = figure(table, "node_usd_per_gpu", {0, 1e6}, "prices", "USD: the server less its GPUs"),
      .network_usd_per_gpu = figure(table, "network_usd_per_gpu", {0, 1e6}, "prices", "USD"),
      .building_usd_per_mw = figure(table, "building_usd_per_mw", {0, 1e9}, "prices", "USD")};
}

double median_gpus(const std::vector<Delivery>& deliveries, const Delivery& delivery) {
  const double gpus = delivery.gpus.value.p50;
  return delivery.less ? std::max(gpus - deliveries[*delivery.less].gpus.value.p50, 0.0) : gpus;
}

std::string iso_date(Day day) {
  const std::chrono::year_month_day date(day);
  return fmt::format("{:04d}-{:02d}-{:02d}", int(date.year()), unsigned(date.month()), unsigned(date.day()));
}

std::vector<std::string> shipped_plans() {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(data_folder("cluster/plans"), error))
    if (entry.path().extension() == ".toml") names.push_back(entry.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

Plan parse_plan(const std::string& text, const std::string& name) {
  return PlanReader(parse_toml(text, name), stem(name), name).read();
}

Plan load_plan(const std::string& name_or_path) {
  if (is_path(name_or_path)) return PlanReader(read_toml(name_or_path), stem(name_or_path), name_or_path).read();
  const std::vector<std::string> shipped = shipped_plans();
  if (std::find(shipped.begin(), shipped.end(), name_or_path) == shipped.end())
    throw InputError(unknown_name("plan", name_or_path, shipped));
  const std::string path = data_folder("cluster/plans") + "/" + name_or_path + ".toml";
  return PlanReader(read_toml(path), name_or_path, path).read();
}

}  // namespace farscale
