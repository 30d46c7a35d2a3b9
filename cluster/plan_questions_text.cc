// Answers to questions in sentences.
#include <fmt/format.h>

#include <algorithm>

#include "cluster/plan_numbers.h"
#include "cluster/plan_questions.h"

namespace farscale {
namespace {

std::string gpus_text(const Estimate& gpus) { return gpus.p95 < 1000 ? count_range(gpus) : si_range(gpus); }

}  // namespace

std::string need_text(const NeedAnswer& answer, const Plan& plan) {
  Plan to_date = plan;
  to_date.end = std::max(plan.end, answer.need.by);
  std::string text = answer.verdict + "\n";
  if (answer.plan_share > 0)
    return wrapped(
        text + fmt::format("The fleet of {} at {}, as one job, gets there on {}; in time in {:.0f} % of the draws.\n",
                           plan.name, answer.site, date_range(to_date, answer.plan_day), 100 * answer.plan_share));
  return wrapped(text + fmt::format("The fleet of {} at {}, as one job, does not get there in time in any draw.\n",
                                    plan.name, answer.site));
}

std::string delay_text(const DelayAnswer& answer, const Plan& plan) {
  if (!answer.moves_anything) return fmt::format("{} waits for no hall and no power.\n", plan.name);
  const auto per_day = [&answer](const Estimate& value) {
    return Estimate{value.p05 / answer.days, value.p50 / answer.days, value.p95 / answer.days};
  };
  return wrapped(fmt::format(
      "Halls and power {} days later than {} says, the GPUs on time: {} fewer samples, {} more idle GPU-days, {} "
      "more written off for idle GPUs; a day costs {} samples and {}. 95 % of the fleet are in service {} days later "
      "(at most the plan's end).\n",
      answer.days, plan.name, si_range(answer.samples_lost), si_range(answer.idle_gpu_days), usd_range(answer.idle_usd),
      si_range(per_day(answer.samples_lost)), usd_range(per_day(answer.idle_usd)), si_range(answer.days_later)));
}

std::string budget_text(const BudgetAnswer& answer) {
  const std::string money = usd_range({answer.usd, answer.usd, answer.usd});
  if (answer.gpus_of_cluster.p95 < 1) return fmt::format("{} buy no GPU with its share of a cluster.\n", money);
  return wrapped(fmt::format(
      "{} buy {} GPUs for {} when all of it goes to the vendor, {} when it pays for whole clusters; these keep {} in "
      "service.\n",
      money, gpus_text(answer.gpus_of_vendor), answer.site, gpus_text(answer.gpus_of_cluster),
      si_range(answer.kept_per_s, "samples/s")));
}

}  // namespace farscale
