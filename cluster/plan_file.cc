// Reading plan files: strict TOML in which every figure says where it is from.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "cluster/plan.h"
#include "cluster/predict.h"
#include "kernels/error.h"
#include "kernels/module.h"
#include "kernels/suggest.h"
#include "workloads/workload.h"

namespace farscale {
namespace {

namespace fs = std::filesystem;

constexpr Range kYears{0.1, 50};
constexpr Range kDays{0, 3660};
constexpr Range kGpus{1, 1e8};
constexpr double kInfinite = std::numeric_limits<double>::infinity();

Quantity assumed(double low, double value, double high, const char* why) {
  return {.value = {low, value, high}, .evidence = Evidence::kAssumed, .source = std::string("assumption: ") + why};
}

std::string range_text(const Estimate& value) {
  if (std::isinf(value.p50)) return "without limit";
  if (value.p05 == value.p95) return fmt::format("{:.6g}", value.p50);
  return fmt::format("{:.6g} ({:.6g} to {:.6g})", value.p50, value.p05, value.p95);
}

bool is_path(const std::string& name) { return name.find('/') != std::string::npos || name.ends_with(".toml"); }

// A shipped name that a typo should be held against; files are checked when they are opened.
std::string shipped_name(const TomlTable& table, std::string_view key, std::string_view what,
                         const std::vector<std::string>& shipped) {
  std::string name = table.text(key);
  if (!is_path(name) && std::find(shipped.begin(), shipped.end(), name) == shipped.end())
    table.fail(key, unknown_name(what, name, shipped));
  return name;
}

// Reads figures and keeps a line of evidence for each.
class PlanReader {
 public:
  PlanReader(const TomlTable& root, std::string name, std::string path) : root_(root) {
    plan_.name = std::move(name);
    plan_.path = std::move(path);
  }

  Plan read() {
    read_span();
    plan_.training = read_training(root_.table("training"));
    plan_.failures = read_failures(root_.maybe_table("failures"));
    plan_.prices = read_prices(root_.maybe_table("prices"));
    const std::optional<TomlTable> pipeline = root_.maybe_table("pipeline");
    for (const TomlTable& site : root_.tables("site")) read_site(site, pipeline);
    if (plan_.sites.empty()) root_.fail("site", "a plan needs at least one [[site]]");
    for (const TomlTable& delivery : root_.tables("delivery")) read_delivery(delivery);
    for (const TomlTable& rental : root_.tables("rental")) read_rental(rental);
    check_sites_have_gpus();
    root_.finish();
    return std::move(plan_);
  }

 private:
  Quantity keep(const std::string& label, std::string_view unit, Quantity quantity) {
    plan_.evidence.push_back(
        {fmt::format("{}: {}{}{}", label, range_text(quantity.value), unit.empty() ? "" : " ", unit), quantity.evidence,
         quantity.source});
    return quantity;
  }
  Quantity figure(const TomlTable& table, std::string_view key, Range range, const std::string& owner,
                  std::string_view unit) {
    return keep(label(owner, key), unit, read_quantity(table, key, range));
  }
  Quantity figure(const TomlTable& table, std::string_view key, Range range, const std::string& owner,
                  std::string_view unit, const Quantity& fallback) {
    return keep(label(owner, key), unit, read_quantity(table, key, range, fallback));
  }
  static std::string label(const std::string& owner, std::string_view key) {
    std::string words(key);
    std::replace(words.begin(), words.end(), '_', ' ');
    return owner + ", " + words;
  }

  PlanDate date(const TomlTable& table, std::string_view key, const std::string& owner) {
    if (table.shape(key) == "date")
      table.fail(key, "has no source: write { date = 2024-10-01, late_days = 30, source = \"…\" }");
    const TomlTable inner = table.table(key);
    if (!inner.has("source")) table.fail(key, "has no source: say who gave this date, or \"assumption: …\"");
    const Day day = inner.date("date");
    const double days = double(day.time_since_epoch().count());
    const double early = inner.number("early_days", kDays, 0), late = inner.number("late_days", kDays, 0);
    const double typical = inner.number("typical_late_days", {-early, late}, 0);
    Quantity quantity{.value = {days - early, days + typical, days + late}, .source = inner.text("source")};
    quantity.evidence = quantity.source.rfind("assumption", 0) == 0 ? Evidence::kAssumed : Evidence::kPublished;
    std::string text = fmt::format("{}: {}", label(owner, key), iso_date(day));
    if (early > 0 || late > 0) text += fmt::format(" ({:g} days early to {:g} late)", early, late);
    plan_.evidence.push_back({text, quantity.evidence, quantity.source});
    return {quantity};
  }

  void read_span() {
    plan_.title = root_.text("title");
    plan_.notes = root_.texts("notes");
    plan_.start = root_.date("start");
    plan_.end = root_.date("end");
    if (plan_.end < plan_.start)
      root_.fail("end", fmt::format("expected a day after the start, {}", iso_date(plan_.start)));
    if (plan_.days() > 3660) root_.fail("end", "a plan can be ten years long at most");
  }

  Training read_training(const TomlTable& table) {
    Training training;
    training.workload = shipped_name(table, "workload", "workload", shipped_workloads());
    training.layout = table.text("layout", "auto");
    if (table.shape("jobs") == "text") {
      training.jobs = table.choice("jobs", {"auto", "one"}) == "one" ? 1 : 0;
    } else {
      training.jobs = table.integer("jobs", {1, 100000}, 0);
    }
    training.spare_share = figure(table, "spare_share", {0, 0.5}, "training", "of the GPUs in service");
    if (table.has("samples_per_training"))
      training.samples_per_training = figure(table, "samples_per_training", kPositive, "training", "samples");
    return training;
  }

  FailureModel read_failures(const std::optional<TomlTable>& table) {
    FailureModel model = default_failure_model();
    const auto read = [&](std::string_view key, Range range, std::string_view unit, Quantity& quantity) {
      quantity =
          table ? figure(*table, key, range, "failures", unit, quantity) : keep(label("failures", key), unit, quantity);
    };
    read("node_failures_per_day", {1e-9, 10}, "per node", model.node_failures_per_day);
    read("checkpoint_s", {0, 86400}, "s", model.checkpoint_s);
    read("restart_s", {0, 86400}, "s", model.restart_s);
    read("restart_s_per_1000_nodes", {0, 86400}, "s", model.restart_s_per_1000_nodes);
    return model;
  }

  Prices read_prices(const std::optional<TomlTable>& table) {
    Prices prices{.vendor_share = assumed(0.6, 0.667, 0.8, "share of a cluster's cost that is the GPU vendor's"),
                  .usd_per_kwh = assumed(0.04, 0.07, 0.1, "industrial contracts in the United States"),
                  .lifetime_years = assumed(3, 4, 6, "usual depreciation of servers")};
    const auto read = [&](std::string_view key, Range range, std::string_view unit, Quantity& quantity) {
      quantity =
          table ? figure(*table, key, range, "prices", unit, quantity) : keep(label("prices", key), unit, quantity);
    };
    read("vendor_share", {0.05, 1}, "of the cluster's cost", prices.vendor_share);
    read("usd_per_kwh", {0, 10}, "USD/kWh", prices.usd_per_kwh);
    read("lifetime_years", kYears, "years", prices.lifetime_years);
    return prices;
  }

  // The site's own figure, or the plan's for all sites.
  Pipeline read_pipeline(const std::string& owner, const std::optional<TomlTable>& own,
                         const std::optional<TomlTable>& common, const TomlTable& site) {
    const Quantity unlimited{.value = {kInfinite, kInfinite, kInfinite}, .source = "assumption: places for all"};
    const auto pick = [&](std::string_view key, Range range, std::string_view unit, const Quantity* fallback) {
      const bool is_own = own && own->has(key);
      if (!is_own && !common && !fallback)
        site.fail("pipeline", fmt::format("{} is missing, here and in [pipeline]", key));
      if (!is_own && !(common && (common->has(key) || !fallback))) return keep(label(owner, key), unit, *fallback);
      return figure(is_own ? *own : *common, key, range, owner, unit);
    };
    const Quantity no_excess = assumed(0, 0, 0, "new nodes fail no more often than old ones");
    const Quantity month = assumed(30, 30, 30, "not used without an excess");
    return {.rack_per_day = pick("rack_per_day", {1, 1e7}, "GPUs a day", nullptr),
            .burn_in_days = pick("burn_in_days", {0, 365}, "days", nullptr),
            .burn_in_at_once = pick("burn_in_at_once", kGpus, "GPUs", &unlimited),
            .first_pass_yield = pick("first_pass_yield", {0.01, 1}, "", nullptr),
            .repair_days = pick("repair_days", {0, 365}, "days", nullptr),
            .repair_share = pick("repair_share", kFraction, "of node failures", nullptr),
            .infant_excess = pick("infant_excess", {0, 100}, "times the settled failure rate", &no_excess),
            .infant_days = pick("infant_days", {0.1, 1000}, "days", &month)};
  }

  void read_site(const TomlTable& table, const std::optional<TomlTable>& pipeline) {
    Site site;
    site.name = table.text("name");
    site.where = table.where();
    const std::string owner = "site " + site.name;
    for (const Site& other : plan_.sites)
      if (other.name == site.name) table.fail("name", fmt::format("there is a site '{}' already", site.name));
    site.organisation = table.text("organisation", site.name);
    site.hardware = shipped_name(table, "hardware", "hardware", shipped_hardware());
    site.rented = table.flag("rented", false);
    if (!site.rented) read_building(table, owner, pipeline, site);
    if (table.has("in_service")) site.in_service = figure(table, "in_service", kGpus, owner, "GPUs at the start");
    plan_.sites.push_back(std::move(site));
  }

  void read_building(const TomlTable& table, const std::string& owner, const std::optional<TomlTable>& pipeline,
                     Site& site) {
    site.pue = figure(table, "pue", {1, 3}, owner, "");
    site.fabric_share = figure(table, "fabric_share", {0, 2}, owner, "of the nodes' power");
    for (const TomlTable& step : table.tables("power")) {
      const std::string step_owner = owner + ", power";
      site.power.push_back({date(step, "from", step_owner), figure(step, "megawatts", {0, 1e5}, step_owner, "MW")});
    }
    if (site.power.empty()) table.fail("power", "a site needs at least one [[site.power]] with from and megawatts");
    for (const TomlTable& hall : table.tables("hall")) {
      const std::string name = hall.text("name");
      const std::string hall_owner = owner + ", hall " + name;
      site.halls.push_back({name, figure(hall, "gpus", kGpus, hall_owner, "places"), date(hall, "ready", hall_owner)});
    }
    if (site.halls.empty()) table.fail("hall", "a site needs at least one [[site.hall]] with name, gpus and ready");
    site.pipeline = read_pipeline(owner, table.maybe_table("pipeline"), pipeline, table);
  }

  size_t site_of(const TomlTable& table, bool rented) {
    const std::string name = table.text("site");
    std::vector<std::string> known;
    for (size_t i = 0; i < plan_.sites.size(); ++i) {
      if (plan_.sites[i].name == name) {
        if (plan_.sites[i].rented != rented)
          table.fail("site", rented ? "a rental belongs to a site with rented = true"
                                    : "nothing is delivered to a rented site");
        return i;
      }
      known.push_back(plan_.sites[i].name);
    }
    table.fail("site", unknown_name("site", name, known));
  }

  void check_in_plan(const TomlTable& table, std::string_view key, const PlanDate& date) const {
    if (date.days.value.p50 > double(plan_.end.time_since_epoch().count()))
      table.fail(key, fmt::format("expected a day before the plan's end, {}", iso_date(plan_.end)));
  }

  // Either gpus or budget_usd.
  void read_size(const TomlTable& table, const std::string& owner, Delivery& delivery) {
    if (!table.has("budget_usd")) {
      delivery.gpus = figure(table, "gpus", kGpus, owner, "GPUs");
      return;
    }
    if (table.has("gpus")) table.fail("gpus", "expected either gpus or budget_usd, not both");
    delivery.budget_usd = figure(table, "budget_usd", kPositive, owner, "USD");
    const Estimate &money = delivery.budget_usd->value, &price = delivery.usd_per_gpu.value;
    delivery.gpus = {.value = {money.p05 / price.p95, money.p50 / price.p50, money.p95 / price.p05},
                     .evidence = weakest(delivery.budget_usd->evidence, delivery.usd_per_gpu.evidence),
                     .source = "budget over price"};
    if (delivery.gpus.value.p50 < 1) table.fail("budget_usd", "buys less than one GPU at usd_per_gpu");
  }

  void read_delivery(const TomlTable& table) {
    const std::string name = table.text("name");
    const std::string owner = "delivery " + name;
    Delivery delivery{.name = name, .site = site_of(table, false)};
    delivery.usd_per_gpu =
        figure(table, "usd_per_gpu", table.has("budget_usd") ? kPositive : kNotNegative, owner, "USD");
    read_size(table, owner, delivery);
    delivery.first = date(table, "first", owner);
    check_in_plan(table, "first", delivery.first);
    if (table.has("last")) {
      delivery.last = date(table, "last", owner);
      if (delivery.last->days.value.p50 < delivery.first.days.value.p50)
        table.fail("last", "expected a day after the first delivery");
      check_in_plan(table, "last", *delivery.last);
    }
    plan_.deliveries.push_back(std::move(delivery));
  }

  void read_rental(const TomlTable& table) {
    const size_t site = site_of(table, true);
    const std::string owner = "rental at " + plan_.sites[site].name;
    Rental rental{.site = site,
                  .gpus = figure(table, "gpus", kGpus, owner, "GPUs"),
                  .from = date(table, "from", owner),
                  .until = {},
                  .usd_per_gpu_hour = figure(table, "usd_per_gpu_hour", {0, 1000}, owner, "USD per GPU-hour")};
    check_in_plan(table, "from", rental.from);
    if (table.has("until")) {
      rental.until = date(table, "until", owner);
      if (rental.until->days.value.p50 < rental.from.days.value.p50) table.fail("until", "expected a day after from");
    }
    plan_.rentals.push_back(std::move(rental));
  }

  void check_sites_have_gpus() const {
    for (size_t i = 0; i < plan_.sites.size(); ++i) {
      const Site& site = plan_.sites[i];
      const auto here = [i](const auto& entry) { return entry.site == i; };
      if (!site.in_service && std::none_of(plan_.deliveries.begin(), plan_.deliveries.end(), here) &&
          std::none_of(plan_.rentals.begin(), plan_.rentals.end(), here))
        throw InputError(
            fmt::format("{}: site '{}' never gets a GPU: expected a [[delivery]], a [[rental]] or in_service",
                        site.where, site.name));
    }
  }

  TomlTable root_;
  Plan plan_;
};

std::string stem(const std::string& path) { return fs::path(path).stem().string(); }

}  // namespace

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
