// The event queue of a site's bring-up, and what stands behind its events.
#include "cluster/plan_lots.h"

#include <algorithm>
#include <cmath>

namespace farscale {
namespace {

constexpr double kSmallPart = 1e-6;  // of a node: rounding

// The heap has the next event on top.
constexpr auto kComesAfter = [](const BringUpEvent& a, const BringUpEvent& b) {
  return a.moment != b.moment ? a.moment > b.moment : a.turn > b.turn;
};

}  // namespace

double midnight_at_hand(double moment) { return std::floor(moment + 2 * kInstant); }

double end_of_day(double moment) { return midnight_at_hand(moment) + 1 - kInstant; }

Lot Lot::some(int64_t among) const {
  const double later = (until - from) * (1 / double(among) - 1 / double(nodes)) / 2;
  return {among, from - later, until - later};
}

Lot Lot::take(int64_t first) {
  const Lot part{first, from, first == nodes ? until : from + (until - from) * double(first) / double(nodes)};
  nodes -= first;
  from = part.until;
  return part;
}

Lot Lot::take_until(double midnight) {
  if (until <= midnight) return take(nodes);
  const double come = double(nodes) * (midnight - from) / (until - from);
  return take(std::clamp<int64_t>(int64_t(come + kSmallPart), 0, nodes));
}

void BringUpQueue::plan(double moment, Happening what, size_t index, const Lot& lot) {
  heap_.push_back({moment, turns_++, what, index, lot});
  std::push_heap(heap_.begin(), heap_.end(), kComesAfter);
}

void BringUpQueue::plan_lot(double now, Happening what, const Lot& lot) {
  if (lot.nodes > 0) plan(std::max(now, std::min(lot.until, end_of_day(lot.from))), what, 0, lot);
}

std::optional<BringUpEvent> BringUpQueue::next(double before) {
  if (heap_.empty() || heap_.front().moment >= before) return {};
  std::pop_heap(heap_.begin(), heap_.end(), kComesAfter);
  BringUpEvent event = heap_.back();
  heap_.pop_back();
  Lot rest = event.lot;
  event.lot = rest.until <= event.moment ? rest.take(rest.nodes) : rest.take_until(midnight_at_hand(event.moment));
  if (rest.nodes > 0) plan(std::min(rest.until, end_of_day(event.moment)), event.what, 0, rest);
  return event;
}

void BringUpQueue::call_back(Happening what, int64_t nodes) {
  while (nodes > 0) {
    const auto waits_less = [what](const BringUpEvent& a, const BringUpEvent& b) {
      const bool a_waits = a.what == what && a.lot.nodes > 0, b_waits = b.what == what && b.lot.nodes > 0;
      return a_waits && b_waits ? a.lot.until < b.lot.until : !a_waits && b_waits;
    };
    const auto last = std::max_element(heap_.begin(), heap_.end(), waits_less);
    if (last == heap_.end() || last->what != what || last->lot.nodes == 0) return;
    const int64_t taken = std::min(nodes, last->lot.nodes);
    last->lot = last->lot.take(last->lot.nodes - taken);
    nodes -= taken;
  }
}

std::optional<Crew::Work> Crew::begin(const Lot& come, int64_t waiting, double nodes_per_day) {
  if (at_work_) return {};
  if (waiting <= 0) {
    begun_ = 0;
    return {};
  }
  at_work_ = true;
  double start = std::max(come.from, free_since_);
  start = std::max(start, midnight_at_hand(start));
  const double possible = nodes_per_day * (midnight_at_hand(start) + 1 - start) + begun_;
  const double last_instant = end_of_day(start);
  const auto done_at = [&](int64_t nodes) {
    return std::min(start + std::max(double(nodes) - begun_, 0.0) / nodes_per_day, last_instant);
  };
  if (double(waiting) <= possible + kSmallPart) {
    free_since_ = done_at(waiting);
    const Lot one_by_one{waiting, start - begun_ / nodes_per_day, free_since_};
    begun_ = 0;
    const Lot done = free_since_ <= come.until ? Lot{waiting, come.from, come.until} : one_by_one;
    return Work{done, done.until};
  }
  const auto nodes = int64_t(possible + kSmallPart);
  Work some{{}, last_instant};
  if (nodes > 0) some.lot = {nodes, start - begun_ / nodes_per_day, done_at(nodes)};
  begun_ = std::max(possible - double(nodes), 0.0);
  free_since_ = last_instant;
  return some;
}

BurnInLuck::BurnInLuck(double fail_share, uint64_t seed)
    : share_(fail_share), log_pass_(std::log1p(-fail_share)), even_(seed == 0), random_(seed) {
  if (!even_) next_ = gap();
}

// Between one failure and the next: geometric, so that a lot's failures are binomial.
int64_t BurnInLuck::gap() {
  constexpr double kNever = 1e15;
  if (share_ <= 0) return int64_t(kNever);
  return 1 + int64_t(std::min(std::log(random_.uniform()) / log_pass_, kNever));
}

int64_t BurnInLuck::failures(int64_t nodes) {
  const int64_t before = seen_;
  seen_ += nodes;
  if (even_) return std::llround(double(seen_) * share_) - std::llround(double(before) * share_);
  int64_t failed = 0;
  for (; next_ <= seen_; next_ += gap()) ++failed;
  return failed;
}

}  // namespace farscale
