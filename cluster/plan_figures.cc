// Every figure of a plan that is drawn, by the name of its stream.
#include <fmt/format.h>

#include "cluster/plan_sensitivity.h"

namespace farscale {
namespace {

using Visit = std::function<void(const std::string& name, Quantity&)>;

void maybe(const Visit& visit, const std::string& name, std::optional<Quantity>& figure) {
  if (figure) visit(name, *figure);
}

void visit_failures(FailureModel& failures, const Visit& visit) {
  visit("node failures per day", failures.node_failures_per_day);
  visit("checkpoint", failures.checkpoint_s);
  visit("checkpoint per 1000 nodes", failures.checkpoint_s_per_1000_nodes);
  visit("restart", failures.restart_s);
  visit("restart per 1000 nodes", failures.restart_s_per_1000_nodes);
  visit("silent corruptions per day", failures.silent_per_node_day);
  visit("silent corruption found", failures.silent_found_s);
  visit("resync", failures.resync_s);
  visit("job-wide failures", failures.job_wide_share);
}

void visit_shared(Plan& plan, const Visit& visit) {
  visit("spare share", plan.training.spare_share);
  maybe(visit, "critical batch", plan.training.critical_batch);
  visit("racked power", plan.state_power.racked);
  visit("burn-in power", plan.state_power.burn_in);
  visit("repair power", plan.state_power.repair);
  visit("spare power", plan.state_power.spare);
  PlanPrices& prices = plan.prices;
  if (prices.parts) {
    visit("node price", prices.parts->node_usd_per_gpu);
    visit("network price", prices.parts->network_usd_per_gpu);
    visit("building price", prices.parts->building_usd_per_mw);
  } else {
    visit("vendor share", prices.vendor_share);
  }
  visit("energy price", prices.usd_per_kwh);
  visit("lifetime", prices.lifetime_years);
}

void visit_pipeline(Site& site, const Visit& visit) {
  Pipeline& p = site.pipeline;
  visit(site.name + " rack per day", p.rack_per_day);
  visit(site.name + " burn-in days", p.burn_in_days);
  visit(site.name + " burn-in at once", p.burn_in_at_once);
  visit(site.name + " first pass yield", p.first_pass_yield);
  visit(site.name + " repair days", p.repair_days);
  visit(site.name + " repairs per day", p.repairs_per_day);
  visit(site.name + " repair share", p.repair_share);
  visit(site.name + " infant excess", p.infant_excess);
  visit(site.name + " infant days", p.infant_days);
}

void visit_site(Site& site, const Visit& visit) {
  maybe(visit, site.name + " in service", site.in_service);
  maybe(visit, site.name + " price of GPUs in service", site.usd_per_gpu);
  maybe(visit, site.name + " oversubscription", site.network.oversubscription);
  visit(site.name + " pue", site.pue);
  visit(site.name + " fabric share", site.fabric_share);
  for (size_t i = 0; i < site.power.size(); ++i) {
    visit(fmt::format("{} power {} from", site.name, i + 1), site.power[i].from.days);
    visit(fmt::format("{} power {}", site.name, i + 1), site.power[i].megawatts);
  }
  for (Hall& hall : site.halls) {
    visit(fmt::format("{} {} ready", site.name, hall.name), hall.ready.days);
    visit(fmt::format("{} {} places", site.name, hall.name), hall.gpus);
    maybe(visit, fmt::format("{} {} cooling", site.name, hall.name), hall.cooling_mw);
  }
  visit_pipeline(site, visit);
}

void visit_delivery(const Plan& plan, Delivery& delivery, const Visit& visit) {
  if (delivery.ordered) {
    visit(delivery.name + " ordered", delivery.ordered->days);
    visit(delivery.name + " lead days", *delivery.lead_days);
  } else {
    visit(delivery.name + " dates", delivery.first.days);
  }
  if (delivery.last) visit(delivery.name + " dates", delivery.last->days);
  maybe(visit, delivery.name + " per day", delivery.per_day);
  if (delivery.budget_usd)
    visit(delivery.name + " budget", *delivery.budget_usd);
  else
    visit(delivery.name + " gpus", delivery.gpus);
  visit("price of " + plan.sites[delivery.site].hardware, delivery.usd_per_gpu);
}

void visit_rental(const Plan& plan, Rental& rental, const Visit& visit) {
  const Site& site = plan.sites[rental.site];
  visit(site.name + " from", rental.from.days);
  if (rental.until) visit(site.name + " until", rental.until->days);
  visit(site.name + " gpus", rental.gpus);
  visit("rent of " + site.hardware, rental.usd_per_gpu_hour);
}

}  // namespace

void visit_figures(Plan& plan, const std::function<void(const std::string&, Quantity&)>& visit) {
  visit_shared(plan, visit);
  visit_failures(plan.failures, visit);
  for (Site& site : plan.sites) visit_site(site, visit);
  for (Delivery& delivery : plan.deliveries) visit_delivery(plan, delivery, visit);
  for (Rental& rental : plan.rentals) visit_rental(plan, rental, visit);
  for (Transfer& transfer : plan.transfers) {
    visit(transfer.name + " date", transfer.date.days);
    visit(transfer.name + " gpus", transfer.gpus);
    visit(transfer.name + " transit days", transfer.transit_days);
  }
  for (Job& job : plan.jobs) {
    maybe(visit, job.name + " samples", job.samples);
    maybe(visit, job.name + " GPU-hours", job.gpu_hours);
    maybe(visit, job.name + " most GPUs", job.most_gpus);
  }
}

}  // namespace farscale
