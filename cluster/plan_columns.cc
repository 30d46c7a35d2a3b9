// Columns of a plan over threads.
#include "cluster/plan_columns.h"

#include <algorithm>
#include <thread>

namespace farscale {

PlanColumns::PlanColumns(const Plan& plan, const RunOptions& options, const MachineSource& machines)
    : plan_(plan), options_(options), transfers_(transfer_draws(plan, options)) {
  for (size_t i = 0; i < plan.sites.size(); ++i)
    sites_.push_back(std::make_unique<SiteRun>(plan, i, options, machines));
}

PlanColumns::Parts PlanColumns::play(int column, double scale, const std::function<bool(int, Parts&)>& visit) const {
  Parts parts;
  for (const auto& site : sites_) parts.emplace_back(*site, column, scale);
  Moves moves(transfers_, size_t(column));
  for (int day = 0; day < plan_.days(); ++day) {
    moves.apply(day, parts);
    for (SiteColumn& part : parts) part.step(day);
    if (!visit(day, parts)) break;
  }
  return parts;
}

void PlanColumns::each(const std::function<void(int)>& work) const {
  const int columns = options_.draws + 1;
  const int cores = options_.threads > 0 ? options_.threads : int(std::max(1U, std::thread::hardware_concurrency()));
  const int workers = std::min(cores, columns);
  const auto share = [&](int worker) {
    for (int column = worker; column < columns; column += workers) {
      work(column);
      if (options_.progress && worker == 0) options_.progress(double(column + 1) / columns);
    }
  };
  std::vector<std::thread> pool;
  for (int worker = 1; worker < workers; ++worker) pool.emplace_back(share, worker);
  share(0);
  for (std::thread& thread : pool) thread.join();
  if (options_.progress) options_.progress(1);
}

}  // namespace farscale
