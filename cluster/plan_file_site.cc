// Reading plan files: sites, what comes to them, and jobs.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "cluster/plan_reader.h"
#include "cluster/predict.h"
#include "kernels/error.h"
#include "kernels/suggest.h"
#include "workloads/workload.h"

namespace farscale {
namespace {

// Draws are found by name: two entries of one name would share them.
template <typename Entry>
void check_new(const TomlTable& table, const std::vector<Entry>& entries, const std::string& name, const char* what) {
  for (const Entry& other : entries)
    if (other.name == name) table.fail("name", fmt::format("there is a {} '{}' already", what, name));
}

}  // namespace

void PlanReader::read_site(const TomlTable& table, const MaybeTable& pipeline) {
  Site site;
  site.name = table.text("name");
  site.where = table.where();
  const std::string owner = "site " + site.name;
  check_new(table, plan_.sites, site.name, "site");
  site.organisation = table.text("organisation", site.name);
  site.hardware = shipped_name(table, "hardware", "hardware", table.text("hardware"), shipped_hardware());
  site.network = read_network(table.maybe_table("network"), owner + ", network");
  site.rented = table.flag("rented", false);
  if (!site.rented) read_building(table, owner, pipeline, site);
  site.in_service = maybe_figure(table, "in_service", kGpus, owner, "GPUs at the start");
  read_price_in_service(table, owner, site);
  plan_.sites.push_back(std::move(site));
}

// What the GPUs in service at the start cost, when no delivery says it.
void PlanReader::read_price_in_service(const TomlTable& table, const std::string& owner, Site& site) {
  if (site.rented || !site.in_service) {
    if (table.has("usd_per_gpu"))
      table.fail("usd_per_gpu", "expected only beside in_service, and not for rented GPUs: what each of these cost");
    return;
  }
  site.usd_per_gpu = maybe_figure(table, "usd_per_gpu", kNotNegative, owner, "USD for each GPU in service");
}

std::optional<Quantity> PlanReader::read_pod(const TomlTable& table, const std::string& owner) {
  std::optional<Quantity> pod = maybe_figure(table, "pod_gpus", kGpus, owner, "GPUs");
  if (pod && pod->value.p05 != pod->value.p95)
    table.fail("pod_gpus",
               "expected one value without low and high: a pod is built in one size; put what is not known "
               "into oversubscription");
  return pod;
}

SiteNetwork PlanReader::read_network(const MaybeTable& table, const std::string& owner) {
  if (!table) return {};
  return {.pod_gpus = read_pod(*table, owner),
          .oversubscription = maybe_figure(*table, "oversubscription", {1, 100}, owner, "to 1 above a pod")};
}

void PlanReader::read_building(const TomlTable& table, const std::string& owner, const MaybeTable& pipeline,
                               Site& site) {
  site.pue = figure(table, "pue", {1, 3}, owner, "");
  site.fabric_share = figure(table, "fabric_share", {0, 2}, owner, "of the nodes' power");
  for (const TomlTable& step : table.tables("power")) {
    const std::string step_owner = owner + ", power";
    site.power.push_back({date(step, "from", step_owner), figure(step, "megawatts", {0, 1e5}, step_owner, "MW")});
    if (site.power.size() > 1 &&
        site.power.back().from.days.value.p50 < site.power[site.power.size() - 2].from.days.value.p50)
      step.fail("from", "expected power steps in the order of their dates: each replaces those above it");
  }
  if (site.power.empty()) table.fail("power", "a site needs at least one [[site.power]] with from and megawatts");
  read_halls(table, owner, site);
  site.pipeline = read_pipeline(owner, table.maybe_table("pipeline"), pipeline, table);
}

void PlanReader::read_halls(const TomlTable& table, const std::string& owner, Site& site) {
  for (const TomlTable& hall : table.tables("hall")) {
    const std::string name = hall.text("name");
    const std::string hall_owner = fmt::format("{}, hall {}", owner, name);
    check_new(hall, site.halls, name, "hall");
    site.halls.push_back({name, figure(hall, "gpus", kGpus, hall_owner, "places"), date(hall, "ready", hall_owner),
                          maybe_figure(hall, "cooling_mw", {0, 1e5}, hall_owner, "MW of heat")});
    if (site.halls.back().cooling_mw.has_value() != site.halls.front().cooling_mw.has_value())
      hall.fail("cooling_mw", "expected for every hall of a site, or for none");
  }
  if (site.halls.empty()) table.fail("hall", "a site needs at least one [[site.hall]] with name, gpus and ready");
}

// The site's own figure, or the plan's for all sites.
Pipeline PlanReader::read_pipeline(const std::string& owner, const MaybeTable& own, const MaybeTable& common,
                                   const TomlTable& site) {
  const auto pick = [&](std::string_view key, Range range, std::string_view unit) {
    const bool is_own = own && own->has(key);
    if (!is_own && !common) site.fail("pipeline", fmt::format("{} is missing, here and in [pipeline]", key));
    return figure(is_own ? *own : *common, key, range, owner, unit);
  };
  const auto pick_or = [&](std::string_view key, Range range, std::string_view unit, const Quantity& fallback) {
    return figure(own && own->has(key) ? own : common, key, range, owner, unit, fallback);
  };
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  const Quantity places = assumed_quantity(kInfinite, kInfinite, kInfinite, "places for all");
  const Quantity hands = assumed_quantity(kInfinite, kInfinite, kInfinite, "hands for all");
  const Quantity no_excess = assumed_quantity(0, 0, 0, "new nodes fail no more often than old ones");
  const Quantity month = assumed_quantity(30, 30, 30, "not used without an excess");
  return {.rack_per_day = pick("rack_per_day", {1, 1e7}, "GPUs a day"),
          .burn_in_days = pick("burn_in_days", {0, 365}, "days"),
          .burn_in_at_once = pick_or("burn_in_at_once", kGpus, "GPUs", places),
          .first_pass_yield = pick("first_pass_yield", {0.01, 1}, ""),
          .repair_days = pick("repair_days", {0, 365}, "days"),
          .repairs_per_day = pick_or("repairs_per_day", {0.01, 1e8}, "GPUs a day", hands),
          .repair_share = pick("repair_share", kFraction, "of node failures"),
          .infant_excess = pick_or("infant_excess", {0, 100}, "times the settled failure rate", no_excess),
          .infant_days = pick_or("infant_days", {0.1, 1000}, "days", month)};
}

size_t PlanReader::site_of(const TomlTable& table, std::string_view key, SiteKind kind) const {
  const std::string name = table.text(key);
  std::vector<std::string> known;
  for (size_t i = 0; i < plan_.sites.size(); ++i) {
    if (plan_.sites[i].name == name) {
      if (kind == SiteKind::kRented && !plan_.sites[i].rented)
        table.fail(key, "a rental belongs to a site with rented = true");
      if (kind == SiteKind::kOwned && plan_.sites[i].rented)
        table.fail(key, "nothing is delivered to or moved from a rented site");
      return i;
    }
    known.push_back(plan_.sites[i].name);
  }
  table.fail(key, unknown_name("site", name, known));
}

void PlanReader::check_in_plan(const TomlTable& table, std::string_view key, const PlanDate& date) const {
  if (date.days.value.p50 > double(plan_.end.time_since_epoch().count()))
    table.fail(key, fmt::format("expected a day before the plan's end, {}", iso_date(plan_.end)));
}

// The delivery above that `less` names: what it brings varies, what both bring does not.
size_t PlanReader::other_lot(const TomlTable& table, const Delivery& delivery) const {
  const std::string name = table.text("less");
  std::vector<std::string> known;
  for (size_t i = 0; i < plan_.deliveries.size(); ++i) {
    const Delivery& other = plan_.deliveries[i];
    known.push_back(other.name);
    if (other.name != name) continue;
    if (other.budget_usd || other.less) table.fail("less", "expected a delivery that says its own gpus");
    if (other.gpus.value.p95 >= delivery.gpus.value.p05)
      table.fail("gpus", fmt::format("expected the total of both deliveries, above the {} of '{}'",
                                     other.gpus.value.p95, name));
    return i;
  }
  table.fail("less", unknown_name("delivery above this one", name, known));
}

// Either gpus or budget_usd.
void PlanReader::read_size(const TomlTable& table, const std::string& owner, Delivery& delivery) {
  if (!table.has("budget_usd")) {
    delivery.gpus = figure(table, "gpus", kGpus, owner, table.has("less") ? "GPUs with the other lot" : "GPUs");
    if (table.has("less")) delivery.less = other_lot(table, delivery);
    return;
  }
  if (table.has("gpus")) table.fail("gpus", "expected either gpus or budget_usd, not both");
  if (table.has("less")) table.fail("less", "expected only with gpus, the total of both deliveries");
  delivery.budget_usd = figure(table, "budget_usd", kPositive, owner, "USD");
  const Estimate &money = delivery.budget_usd->value, &price = delivery.usd_per_gpu.value;
  delivery.gpus = {.value = {money.p05 / price.p95, money.p50 / price.p50, money.p95 / price.p05},
                   .evidence = weakest(delivery.budget_usd->evidence, delivery.usd_per_gpu.evidence),
                   .source = "budget over price"};
  if (delivery.gpus.value.p50 < 1) table.fail("budget_usd", "buys less than one GPU at usd_per_gpu");
}

// Either the day, or an order and its lead time.
void PlanReader::read_first_day(const TomlTable& table, const std::string& owner, Delivery& delivery) {
  if (!table.has("ordered")) {
    if (table.has("lead_days")) table.fail("lead_days", "expected only with ordered, the date of the order");
    delivery.first = date(table, "first", owner);
    check_in_plan(table, "first", delivery.first);
    return;
  }
  for (const char* key : {"first", "last"})
    if (table.has(key))
      table.fail(key, "expected not with ordered: lead_days says when deliveries begin, per_day how fast");
  delivery.ordered = date(table, "ordered", owner);
  delivery.lead_days = figure(table, "lead_days", {0, kMostPlanDays}, owner, "days");
  const Estimate &order = delivery.ordered->days.value, &lead = delivery.lead_days->value;
  delivery.first.days.value = {order.p05 + lead.p05, order.p50 + lead.p50, order.p95 + lead.p95};
  check_in_plan(table, "lead_days", delivery.first);
}

void PlanReader::read_delivery(const TomlTable& table) {
  const std::string name = table.text("name");
  const std::string owner = "delivery " + name;
  check_new(table, plan_.deliveries, name, "delivery");
  Delivery delivery{.name = name, .site = site_of(table, "site", SiteKind::kOwned)};
  delivery.usd_per_gpu = figure(table, "usd_per_gpu", table.has("budget_usd") ? kPositive : kNotNegative, owner, "USD");
  read_size(table, owner, delivery);
  read_first_day(table, owner, delivery);
  delivery.per_day = maybe_figure(table, "per_day", {1e-3, 1e8}, owner, "GPUs a day");
  if (table.has("last")) {
    if (delivery.per_day) table.fail("last", "expected either last or per_day, not both");
    delivery.last = date(table, "last", owner);
    if (delivery.last->days.value.p50 < delivery.first.days.value.p50)
      table.fail("last", "expected a day after the first delivery");
    check_in_plan(table, "last", *delivery.last);
  }
  plan_.deliveries.push_back(std::move(delivery));
}

void PlanReader::read_rental(const TomlTable& table) {
  const size_t site = site_of(table, "site", SiteKind::kRented);
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

void PlanReader::read_transfer(const TomlTable& table) {
  const std::string name = table.text("name");
  const std::string owner = "transfer " + name;
  check_new(table, plan_.transfers, name, "transfer");
  Transfer transfer{.name = name,
                    .from = site_of(table, "from", SiteKind::kOwned),
                    .to = site_of(table, "to", SiteKind::kOwned),
                    .gpus = figure(table, "gpus", kGpus, owner, "GPUs"),
                    .date = date(table, "date", owner),
                    .transit_days = figure(table, "transit_days", {0, 365}, owner, "days")};
  if (transfer.from == transfer.to) table.fail("to", "expected another site than from");
  const Site &from = plan_.sites[transfer.from], &to = plan_.sites[transfer.to];
  if (from.hardware != to.hardware)
    table.fail("to", fmt::format("expected a site of the same hardware as {}: {}, not {}", from.name, from.hardware,
                                 to.hardware));
  check_in_plan(table, "date", transfer.date);
  plan_.transfers.push_back(std::move(transfer));
}

void PlanReader::read_job(const TomlTable& table) {
  Job job{.name = table.text("name")};
  const std::string owner = "job " + job.name;
  check_new(table, plan_.jobs, job.name, "job");
  job.workload =
      shipped_name(table, "workload", "workload", table.text("workload", plan_.training.workload), shipped_workloads());
  if (table.has("site") || plan_.sites.size() > 1) job.site = site_of(table, "site", SiteKind::kAny);
  job.priority = table.integer("priority", {-1000000, 1000000}, 0);
  job.samples = maybe_figure(table, "samples", kPositive, owner, "samples");
  job.gpu_hours = maybe_figure(table, "gpu_hours", kPositive, owner, "GPU-hours");
  if (job.samples.has_value() == job.gpu_hours.has_value())
    table.fail("samples", "expected a budget: either samples or gpu_hours");
  job.most_gpus = maybe_figure(table, "most_gpus", kGpus, owner, "GPUs at once");
  plan_.jobs.push_back(std::move(job));
}

void PlanReader::check_prices_are_known() const {
  for (const Site& site : plan_.sites) {
    const auto is_like = [&](const Delivery& delivery) { return plan_.sites[delivery.site].hardware == site.hardware; };
    if (site.in_service && !site.rented && !site.usd_per_gpu &&
        std::none_of(plan_.deliveries.begin(), plan_.deliveries.end(), is_like))
      throw InputError(
          fmt::format("{}: site '{}' has GPUs in service and nothing says what they cost: expected usd_per_gpu, or a "
                      "[[delivery]] of {}, whose price they then have",
                      site.where, site.name, site.hardware));
  }
}

void PlanReader::check_sites_have_gpus() const {
  for (size_t i = 0; i < plan_.sites.size(); ++i) {
    const Site& site = plan_.sites[i];
    const auto here = [i](const auto& entry) { return entry.site == i; };
    const auto comes_here = [i](const Transfer& transfer) { return transfer.to == i; };
    if (!site.in_service && std::none_of(plan_.deliveries.begin(), plan_.deliveries.end(), here) &&
        std::none_of(plan_.rentals.begin(), plan_.rentals.end(), here) &&
        std::none_of(plan_.transfers.begin(), plan_.transfers.end(), comes_here))
      throw InputError(
          fmt::format("{}: site '{}' never gets a GPU: expected a [[delivery]], a [[rental]], a [[transfer]] or "
                      "in_service",
                      site.where, site.name));
  }
}

}  // namespace farscale
