// Answers to questions in sentences.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cluster/plan_numbers.h"
#include "cluster/plan_questions.h"
#include "kernels/format.h"

namespace farscale {
namespace {

std::string percent_text(double share) { return fmt::format("{:.0f} %", 100 * share); }

std::string gpus_text(const Estimate& gpus) { return gpus.p95 < 1000 ? count_range(gpus) : si_range(gpus); }

std::string goal_text(const Need& need) {
  return fmt::format("{} of {} by {}", format_si(need.samples, "samples"), need.workload, iso_date(need.by));
}

std::string verdict(const NeedAnswer& answer, const Plan& plan) {
  const std::string goal = goal_text(answer.need), never = percent_text(1 - answer.feasible_share);
  const std::string with =
      fmt::format("{} GPUs, {} times its deliveries and rentals ({} GPUs as it is)", gpus_text(answer.gpus),
                  range_of(answer.scale, 1, ""), format_count(answer.plan_gpus));
  if (answer.feasible_share < 0.05)
    return fmt::format(
        "No number of GPUs gives {} with the sites, halls, power and dates of {}: {} times its deliveries "
        "and rentals keep {} by then. What binds is {}.",
        goal, plan.name, format_count(answer.largest_scale), si_range(answer.most_samples, "samples"), answer.binding);
  if (std::isinf(answer.gpus.p95))
    return fmt::format(
        "In {} of the draws no number of GPUs gives {} with the sites, halls, power and dates of {}; what "
        "binds is {}.{}",
        never, goal, plan.name, answer.binding,
        std::isfinite(answer.gpus.p50)
            ? fmt::format(" The median draw needs {} GPUs, {} times its deliveries and rentals.",
                          format_count(answer.gpus.p50), digits(answer.scale.p50))
            : "");
  if (answer.scale.p95 == 0)
    return fmt::format("{} need no delivery: what is in service at the start of {} suffices.", goal, plan.name);
  return fmt::format("{} need, with the sites, halls, power and dates of {}, {}.", goal, plan.name, with);
}

// Beside the answer: what it would be without all that a plan says of time.
std::string one_job_text(const NeedAnswer::OneJob& answer) {
  const std::string label =
      fmt::format("Had they all been in service at {} from the first day on, as one job, ", answer.site);
  if (answer.feasible_share < 0.05)
    return label + fmt::format("no number of GPUs would do: one job keeps most at about {}.\n",
                               about_count(answer.best_job_gpus));
  if (std::isinf(answer.gpus.p95))
    return label + fmt::format("no number of GPUs would do in {} of the draws: one job keeps most at about {}.\n",
                               percent_text(1 - answer.feasible_share), about_count(answer.best_job_gpus));
  return label + fmt::format("{} would do.\n", gpus_text(answer.gpus));
}

}  // namespace

std::string need_text(const NeedAnswer& answer, const Plan& plan) {
  Plan to_date = plan;
  to_date.end = std::max(plan.end, answer.need.by);
  const std::string keeps = fmt::format("{} as it is keeps {} by then", plan.name, si_range(answer.plan_samples));
  const bool ever = answer.plan_day.p05 < to_date.days();
  const std::string gets_there =
      fmt::format("in time in {} of the draws", percent_text(answer.plan_share)) +
      (ever ? fmt::format(" (it gets there: {})", date_range(to_date, answer.plan_day)) : "");
  return wrapped(
      fmt::format("{}\n{}; {}.\n{}", verdict(answer, plan), keeps, gets_there, one_job_text(answer.one_job)));
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
  if (answer.gpus_of_cluster.p95 < 1)
    return fmt::format("{} {}.\n", money, answer.rented ? "rent no GPU" : "buy no GPU with its share of a cluster");
  const std::string keep = si_range(answer.kept_per_s, "samples/s");
  if (answer.rented)
    return wrapped(fmt::format("{} rent {} GPUs at {} for as long as the plan does; these keep {}.\n", money,
                               gpus_text(answer.gpus_of_cluster), answer.site, keep));
  return wrapped(fmt::format(
      "{} buy {} GPUs for {} when all of it goes to the vendor, {} when it pays for whole clusters; these keep {} in "
      "service.\n",
      money, gpus_text(answer.gpus_of_vendor), answer.site, gpus_text(answer.gpus_of_cluster), keep));
}

}  // namespace farscale
