// What the events of a site's bring-up do.
#include "cluster/plan_bringup.h"

#include <algorithm>
#include <cmath>

namespace farscale {
namespace {

constexpr double kRounding = 1e-9;  // relative, of limits that are sums and quotients
constexpr uint64_t kRepairStream = 0xc2b2ae3d27d4eb4fULL;

double whole(double amount) { return std::floor(amount * (1 + kRounding) + kRounding); }

int64_t nodes_within(double amount, int64_t most) {
  return amount >= double(most) ? most : int64_t(std::max(whole(amount), 0.0));
}

}  // namespace

SitePipeline::SitePipeline(const SiteDraw& site)
    : site_(site),
      burn_in_luck_(1 - site.first_pass_yield, site.luck),
      repair_luck_(site.luck ^ kRepairStream),
      infant_decay_(std::exp(-1 / site.infant_days)),
      arrived_(site.arrivals.size(), 0.0) {
  accepted_ = whole_nodes(site.in_service);
  delivered_ = std::floor(site.in_service);
  stored_ = int64_t(delivered_) - accepted_ * site.gpus_per_node;
  for (const Arrival& arrival : site.arrivals) undelivered_ += std::floor(arrival.gpus);
  today_.in_service = gpus(accepted_);
  plan_events();
}

void SitePipeline::plan_events() {
  const auto plan_steps = [this](Happening what, const std::vector<Step>& steps) {
    for (size_t i = 0; i < steps.size(); ++i) queue_.plan(std::max(steps[i].day, 0.0), what, i);
  };
  plan_steps(Happening::kHall, site_.halls);
  plan_steps(Happening::kCooling, site_.cooling);
  plan_steps(Happening::kPower, site_.power);
  for (size_t i = 0; i < site_.arrivals.size(); ++i)
    queue_.plan(std::max(site_.arrivals[i].first_day, 0.0), Happening::kDelivery, i);
}

const SiteDay& SitePipeline::step(int day) {
  fail_as_expected(day);
  rack(day);
  start_burn_in({0, double(day), double(day)}, day);
  begin_repairs({0, double(day), double(day)}, day);
  while (const std::optional<BringUpEvent> event = queue_.next(day + 1)) handle(*event);
  close_day(day);
  return today_;
}

void SitePipeline::handle(const BringUpEvent& event) {
  const double now = event.moment;
  switch (event.what) {
    case Happening::kDelivery:
      return deliver(event.index, now);
    case Happening::kArrival:
      store(event.lot.nodes);
      return rack(now);
    case Happening::kHall:
      limits_.places += site_.halls[event.index].amount / site_.gpus_per_node;
      return rack(now);
    case Happening::kCooling:
      limits_.cooling += site_.cooling[event.index].amount / site_.gpus_per_node;
      return obey_limit(now);
    case Happening::kPower:
      if (event.index < limits_.power_step) return;
      limits_.power_step = event.index;
      limits_.power = site_.power[event.index].amount / site_.gpus_per_node;
      return obey_limit(now);
    case Happening::kRacked:
      rackers_.end();
      stored_ -= event.lot.nodes * site_.gpus_per_node;
      admit(event.lot, now);
      return rack(now);
    case Happening::kBurnedIn:
      return finish_burn_in(event.lot, now);
    case Happening::kTakenOn:
      take_on(event.lot, now);
      return begin_repairs({0, now, now}, now);
    case Happening::kRepaired:
      repairing_ -= event.lot.nodes;
      accepted_ += event.lot.nodes;
      return;
    case Happening::kReworked:
      repairing_ -= event.lot.nodes;
      return admit(event.lot, now);
  }
}

// Today's part of a delivery; the next one comes at the same hour tomorrow.
void SitePipeline::deliver(size_t arrival, double moment) {
  const Arrival& lot = site_.arrivals[arrival];
  const double come = arrived_by(lot, int(moment));
  undelivered_ -= come - arrived_[arrival];
  store(int64_t(come - arrived_[arrival]));
  arrived_[arrival] = come;
  if (come < std::floor(lot.gpus)) queue_.plan(moment + 1, Happening::kDelivery, arrival);
  rack(moment);
}

void SitePipeline::store(int64_t gpus) {
  stored_ += gpus;
  delivered_ += double(gpus);
}

int64_t SitePipeline::whole_nodes(double gpus) const { return int64_t(whole(gpus / site_.gpus_per_node)); }

double SitePipeline::take_out(double gpus) {
  const int64_t nodes = std::min(whole_nodes(gpus), accepted_);
  if (nodes <= 0) return 0;
  infants_ *= 1 - double(nodes) / double(accepted_);
  accepted_ -= nodes;
  in_transit_ += nodes;
  today_.in_service = std::min(today_.in_service, this->gpus(accepted_));
  return this->gpus(nodes);
}

void SitePipeline::hand_over(double gpus) {
  in_transit_ -= whole_nodes(gpus);
  delivered_ -= gpus;
}

void SitePipeline::receive(double moment, double gpus) {
  queue_.plan(moment, Happening::kArrival, 0, {int64_t(gpus), moment, moment});
}

void SitePipeline::fail(double to_repair, double repaired) {
  outside_taken_ = whole_nodes(to_repair);
  const int64_t net = std::clamp(outside_taken_ - whole_nodes(repaired), -outside_repair_, accepted_);
  accepted_ -= net;
  outside_repair_ += net;
}

double SitePipeline::infant_excess() const { return accepted_ > 0 ? infants_ / double(accepted_) : 0; }

// Failures of a day, evenly over it: as many as are expected, in whole nodes.
void SitePipeline::fail_as_expected(double morning) {
  const double serving = today_.in_service / site_.gpus_per_node;
  const double lit_share = accepted_ > 0 ? std::min(1.0, serving / double(accepted_)) : 0;
  if (!site_.failures_come_from_outside) {
    due_failures_ += site_.repairs_per_gpu_day * (serving + infants_ * lit_share);
    const int64_t failed = std::min(int64_t(due_failures_), accepted_);
    due_failures_ -= std::floor(due_failures_);
    const Lot all{accepted_, morning, end_of_day(morning)};
    accepted_ -= failed;
    waiting_repair_ += failed;
    if (failed > 0) begin_repairs(all.some(failed), morning);
  }
  infants_ *= infant_decay_;
}

double SitePipeline::room() const { return limits_.places - double(installed()); }

void SitePipeline::rack(double now) {
  const int64_t waiting = nodes_within(room(), stored_ / site_.gpus_per_node);
  if (const auto work = rackers_.begin({waiting, now, now}, waiting, site_.rack_per_day / site_.gpus_per_node))
    queue_.plan(std::max(now, work->over), Happening::kRacked, 0, work->lot);
}

// Nodes that need not wait for burn-in keep their distance from each other.
void SitePipeline::admit(Lot lot, double now) {
  if (racked_ == 0) burn_in(lot.take(nodes_within(free_burn_in(), lot.nodes)), now);
  racked_ += lot.nodes;
}

// Nodes that wait take the places of a lot that has left them.
void SitePipeline::start_burn_in(const Lot& left, double now) {
  const int64_t nodes = nodes_within(free_burn_in(), racked_);
  racked_ -= nodes;
  burn_in({nodes, left.from, left.until}, now);
}

void SitePipeline::burn_in(const Lot& lot, double now) {
  burning_ += lot.nodes;
  queue_.plan_lot(now, Happening::kBurnedIn, lot.later(site_.burn_in_days));
}

void SitePipeline::finish_burn_in(const Lot& lot, double now) {
  burning_ -= lot.nodes;
  const int64_t failed = burn_in_luck_.failures(lot.nodes);
  accepted_ += lot.nodes - failed;
  infants_ += double(lot.nodes - failed) * site_.infant_excess;
  waiting_rework_ += failed;
  begin_repairs(failed > 0 ? lot.some(failed) : lot, now);
  start_burn_in(lot, now);
}

void SitePipeline::begin_repairs(const Lot& come, double now) {
  const double free_hands = std::max(site_.repairs_per_day / site_.gpus_per_node - double(outside_taken_), 0.0);
  while (const auto work = hands_.begin(come, waiting_repair_ + waiting_rework_, free_hands)) {
    if (work->over > now) return queue_.plan(work->over, Happening::kTakenOn, 0, work->lot);
    take_on(work->lot, now);
  }
}

// A lot that hands have begun with. Failures of service come first: they were training.
void SitePipeline::take_on(Lot lot, double now) {
  hands_.end();
  const Lot repaired = lot.take(std::min(lot.nodes, waiting_repair_));
  waiting_repair_ -= repaired.nodes;
  waiting_rework_ -= lot.nodes;
  repairing_ += repaired.nodes + lot.nodes;
  if (repaired.nodes > 0) queue_.plan_lot(now, Happening::kRepaired, repaired.later(turnaround()));
  if (lot.nodes > 0) queue_.plan_lot(now, Happening::kReworked, lot.later(turnaround()));
}

double SitePipeline::turnaround() {
  return site_.luck == 0 ? site_.repair_days : -site_.repair_days * std::log(repair_luck_.uniform());
}

double SitePipeline::limit() const {
  return site_.cooling.empty() ? limits_.power : std::min(limits_.power, limits_.cooling);
}

// Nodes that may go to burn-in: those that passed it keep their power.
double SitePipeline::free_burn_in() const {
  const double each = std::max(site_.burn_in_power, 1e-9);
  const double free_power = (limit() - double(accepted_)) / each - double(burning_);
  return std::max(std::min(free_power, site_.burn_in_at_once / site_.gpus_per_node - double(burning_)), 0.0);
}

int64_t SitePipeline::lit() const { return nodes_within(limit() - double(burning_) * site_.burn_in_power, accepted_); }

// After a change of power or cooling.
void SitePipeline::obey_limit(double now) {
  const double left = limit() - double(nodes_within(limit(), accepted_));
  const int64_t still_burning = nodes_within(left / std::max(site_.burn_in_power, 1e-9), burning_);
  queue_.call_back(Happening::kBurnedIn, burning_ - still_burning);
  racked_ += burning_ - still_burning;
  burning_ = still_burning;
  start_burn_in({0, now, now}, now);
}

void bring_up(const SiteDraw& site, int days, std::vector<SiteDay>& out) {
  out.clear();
  SitePipeline pipeline(site);
  for (int day = 0; day < days; ++day) out.push_back(pipeline.step(day));
}

}  // namespace farscale
