// Transfers between sites, day by day.
#include "cluster/plan_moves.h"

#include <algorithm>

#include "cluster/plan_draws.h"

namespace farscale {

std::vector<TransferDraws> transfer_draws(const Plan& plan, const RunOptions& options) {
  std::vector<TransferDraws> transfers;
  const auto stream = [&options](const Quantity& quantity, const std::string& name) {
    return column_values(quantity, options.seed, name, options.draws);
  };
  for (const Transfer& t : plan.transfers) {
    transfers.push_back({t.from, t.to, stream(t.date.days, t.name + " date"), stream(t.gpus, t.name + " gpus"),
                         stream(t.transit_days, t.name + " transit days")});
    for (double& day : transfers.back().day) day -= double(plan.start.time_since_epoch().count());
  }
  return transfers;
}

Moves::Moves(const std::vector<TransferDraws>& transfers, size_t column) : transfers_(transfers), column_(column) {
  for (const TransferDraws& transfer : transfers) left_.push_back(transfer.gpus[column]);
}

void Moves::apply(int day, std::deque<SiteColumn>& sites) {
  for (size_t t = 0; t < transfers_.size(); ++t) {
    const TransferDraws& transfer = transfers_[t];
    if (transfer.day[column_] >= day + 1 || left_[t] <= 0) continue;
    const double gpus = sites[transfer.from].take_out(left_[t]);
    left_[t] -= gpus;
    const double leaves = std::max(transfer.day[column_], double(day));
    if (gpus > 0)
      road_.push_back({transfer.from, transfer.to, leaves + std::max(transfer.transit_days[column_], 0.0), gpus});
  }
  std::erase_if(road_, [&](const OnTheRoad& lot) {
    if (lot.arrives >= day + 1) return false;
    sites[lot.to].take_over(sites[lot.from], lot.arrives, lot.gpus);
    return true;
  });
}

}  // namespace farscale
