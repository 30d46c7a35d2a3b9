// How much larger a plan's deliveries must be for a training by a date, or what keeps any number from sufficing.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "cluster/plan_columns.h"
#include "cluster/plan_draws.h"
#include "cluster/plan_questions.h"
#include "kernels/error.h"
#include "kernels/format.h"

namespace farscale {
namespace {

constexpr double kDay_s = 86400;
constexpr double kMostGpus = 4e6;      // looked at; every job's peak lies below with the failure rates known today
constexpr double kMostScale = 64;      // of the deliveries
constexpr double kMostSamples = 1e18;  // of a training: a million times what any has said to have used
constexpr double kInfinite = std::numeric_limits<double>::infinity();

[[noreturn]] void wrong_need(const std::string& text, const std::string& why) {
  throw InputError(
      fmt::format("--need '{}': {}; expected WORKLOAD:NUMBER samples by DATE, as in \"{}\"", text, why, kNeedExample));
}

Day parse_date(const std::string& text, int year, unsigned month, unsigned day) {
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(month), std::chrono::day(day)};
  if (!date.ok()) wrong_need(text, "there is no such day");
  return date;
}

double share_of(const std::vector<double>& columns, const std::function<bool(double)>& is_so) {
  const auto first = columns.begin() + (columns.size() > 1 ? 1 : 0);
  return double(std::count_if(first, columns.end(), is_so)) / double(columns.end() - first);
}

double share_of_finite(const std::vector<double>& columns) {
  return share_of(columns, [](double value) { return std::isfinite(value); });
}

// The plan as the need asks it: to the date at least, its workload on all that the plan's own jobs leave.
Plan plan_for(const Plan& plan, const Need& need) {
  Plan own = plan;
  own.end = std::max(plan.end, need.by);
  if (need.workload == plan.training.workload) return own;
  own.training.workload = need.workload;
  own.training.layout = "auto";  // the plan's is of its own workload
  return own;
}

// One plan at many scales of its deliveries.
class Scales {
 public:
  Scales(const Plan& plan, const NeedAnswer& answer, const RunOptions& options, const MachineSource& machines)
      : answer_(answer), options_(options), columns_(plan, options_, machines) {}

  const PlanColumns& columns() const { return columns_; }

  double samples_by_the_date(int column, double scale) const {
    double samples = 0;
    columns_.play(column, scale, [&](int day, PlanColumns::Parts& sites) {
      samples = kept(sites);
      return day + 1 < int(answer_.days);
    });
    return samples;
  }

  // First day on which the plan as it is has kept the samples; `never` when it does not.
  double day_of_need(int column, double never, double* by_the_date) const {
    double first = never;
    columns_.play(column, 1, [&](int day, PlanColumns::Parts& sites) {
      const double samples = kept(sites);
      if (samples >= answer_.need.samples) first = std::min(first, double(day));
      if (day < int(answer_.days)) *by_the_date = samples;
      return day + 1 < int(answer_.days) || first == never;
    });
    return first;
  }

  // Smallest scale that keeps the samples in time: more never delivers less, so that halving finds it.
  double least_scale(int column, double as_planned, double at_most) const {
    if (std::max(as_planned, at_most) < answer_.need.samples) return kInfinite;
    double low = 0, high = answer_.largest_scale;
    (as_planned < answer_.need.samples ? low : high) = 1;
    if (low == 0 && samples_by_the_date(column, 0) >= answer_.need.samples) return 0;
    low = std::max(low, 1.0 / 1024);
    for (int i = 0; i < 12; ++i) {
      const double middle = std::sqrt(low * high);
      (samples_by_the_date(column, middle) < answer_.need.samples ? low : high) = middle;
    }
    return high;
  }

  double gpus(int column, double scale) const {
    if (std::isinf(scale)) return scale;
    double sum = 0;
    for (const auto& site : columns_.sites()) sum += site->figures().gpus(column, scale);
    return sum;
  }

 private:
  static double kept(const PlanColumns::Parts& sites) {
    double sum = 0;
    for (const SiteColumn& site : sites) sum += site.samples();
    return sum;
  }

  const NeedAnswer& answer_;
  RunOptions options_;
  PlanColumns columns_;
};

std::string_view words(Bottleneck bottleneck) {
  constexpr std::string_view kWords[] = {"nothing",          "the dates of the deliveries",
                                         "places in halls",  "hands that rack",
                                         "burn-in",          "power",
                                         "cooling of halls", "repairs"};
  return kWords[size_t(bottleneck)];
}

// What costs most at the largest useful job, in words.
std::string job_limit(const PlanMachine& machine, const Plan& plan, const DeliveryCurve& curve,
                      const RunOptions& options) {
  const double gpus = curve.best_job_gpus().p50, useful = curve.useful_share(0, gpus);
  const int64_t whole = std::max<int64_t>(1, int64_t(gpus) / machine.gpus_per_node) * machine.gpus_per_node;
  const Prediction prediction =
      machine.predict(whole, {.layout = curve.layout(), .draws = std::max(options.draws, 100), .seed = options.seed});
  const double goodput = median_failures(plan.failures).goodput(nodes_of(double(whole), machine.gpus_per_node));
  const double efficiency = prediction.scaling_efficiency.p50;
  if (useful < std::min(goodput, efficiency))
    return fmt::format("the critical batch size ({} of the samples there are of use)", format_percent(useful));
  if (goodput <= efficiency || efficiency <= 0)
    return fmt::format("failures, checkpoints and restarts (goodput {} there)", format_percent(goodput));
  return fmt::format("communication and stragglers (scaling efficiency {} there)", format_percent(efficiency));
}

// In the nominal run at the largest scale: what most GPU-days out of service wait for, or, where most are in service or
// have no job to be of use to, what limits a job.
std::string binding_reason(const Plan& plan, const NeedAnswer& answer, const Scales& scales, const RunOptions& options,
                           const MachineSource& machines) {
  if (plan.deliveries.empty() && plan.rentals.empty()) return "that the plan buys and rents nothing";
  double in_service = 0, standing_by = 0, missing = 0;
  std::vector<std::array<double, 8>> waiting(plan.sites.size());
  scales.columns().play(0, answer.largest_scale, [&](int day, const PlanColumns::Parts& sites) {
    for (size_t s = 0; s < sites.size(); ++s) {
      const SiteDay& state = sites[s].today();
      const double out =
          std::max(scales.columns().sites()[s]->figures().gpus(0, answer.largest_scale) - state.in_service, 0.0);
      waiting[s][size_t(state.bottleneck)] += out;
      in_service += state.in_service;
      standing_by += sites[s].standing_by();
      missing += out;
    }
    return day + 1 < int(answer.days);
  });
  if (in_service >= missing || standing_by > in_service / 2) {
    const size_t site = main_site(plan);
    return job_limit(machines(plan.training.workload, plan.sites[site]), plan, scales.columns().sites()[site]->curve(),
                     options);
  }
  double most = -1;
  std::string reason;
  for (size_t s = 0; s < waiting.size(); ++s)
    for (size_t b = 0; b < waiting[s].size(); ++b)
      if (waiting[s][b] > most)
        most = waiting[s][b], reason = fmt::format("{} at {}", words(Bottleneck(b)), plan.sites[s].name);
  return reason;
}

// Smallest job on the rising branch of a column that keeps `rate`; infinite when none does.
double least_job(const DeliveryCurve& curve, int column, double rate, double least) {
  double below = least, above = curve.best_job_gpus(column);
  if (curve.delivered_per_s(column, above) < rate) return kInfinite;
  for (int i = 0; i < 40; ++i) {
    const double middle = std::sqrt(below * above);
    (curve.delivered_per_s(column, middle) < rate ? below : above) = middle;
  }
  return above;
}

NeedAnswer::OneJob one_job(const Plan& plan, const NeedAnswer& answer, const RunOptions& options,
                           const MachineSource& machines) {
  const Site& site = plan.sites[main_site(plan)];
  const PlanMachine machine = machines(plan.training.workload, site);
  const DeliveryCurve curve(machine, plan.failures, kMostGpus, DeliveryOptions::of(plan, options.draws, options.seed));
  const double rate = answer.need.samples / (answer.days * kDay_s);
  const std::vector<double> spare =
      column_values(plan.training.spare_share, options.seed, "spare share", options.draws);
  std::vector<double> gpus;
  for (int c = 0; c < curve.columns(); ++c)
    gpus.push_back(least_job(curve, c, rate, machine.gpus_per_node) / (1 - spare[size_t(c)]));
  return {.site = site.name,
          .feasible_share = share_of_finite(gpus),
          .gpus = estimate_of(gpus),
          .best_job_gpus = curve.best_job_gpus().p50};
}

void check_date(const Plan& plan, const Need& need) {
  if (need.by <= plan.start)
    throw InputError(fmt::format("--need: expected a day after the start of {}, {}, not {}", plan.name,
                                 iso_date(plan.start), iso_date(need.by)));
  const Day last = plan.start + std::chrono::days(kMostPlanDays - 1);
  if (need.by > last)
    throw InputError(fmt::format("--need: expected a day up to {}, ten years after the start of {}, not {}",
                                 iso_date(last), plan.name, iso_date(need.by)));
}

}  // namespace

Need parse_need(const std::string& text) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos || colon == 0) wrong_need(text, "names no workload");
  Need need{.workload = text.substr(0, colon), .samples = 0, .by = {}};
  char* after = nullptr;
  const char* number = text.c_str() + colon + 1;
  need.samples = std::strtod(number, &after);
  if (after == number) wrong_need(text, "has no number of samples");
  if (!(need.samples >= 1 && need.samples <= kMostSamples)) wrong_need(text, "must ask for 1 to 1e18 samples");
  int year = 0, end = 0;
  unsigned month = 0, day = 0;
  if (std::sscanf(after, " samples by %4d-%2u-%2u %n", &year, &month, &day, &end) != 3 || after[end] != '\0')
    wrong_need(text, "has no \"samples by\" with a date");
  need.by = parse_date(text, year, month, day);
  return need;
}

NeedAnswer answer_need(const Plan& plan, const Need& need, const RunOptions& options, const MachineSource& machines) {
  check_date(plan, need);
  const Plan own = plan_for(plan, need);
  NeedAnswer answer{.need = need, .binding = {}, .one_job = {}};
  answer.days = double((need.by - plan.start).count()) + 1;
  double bought = 0;
  for (const Delivery& delivery : plan.deliveries) bought += delivery.gpus.value.p95;
  for (const Rental& rental : plan.rentals) bought += rental.gpus.value.p95;
  answer.largest_scale = std::clamp(kMostGpus / std::max(bought, 1.0), 1.0, kMostScale);
  RunOptions run = options;
  run.events = false;
  run.largest_scale = answer.largest_scale;
  const Scales scales(own, answer, run, machines);
  std::vector<double> scale(scales.columns().count()), gpus = scale, most = scale, samples = scale, day = scale;
  scales.columns().each([&](int column) {
    const auto c = size_t(column);
    day[c] = scales.day_of_need(column, own.days(), &samples[c]);
    most[c] = scales.samples_by_the_date(column, answer.largest_scale);
    scale[c] = scales.least_scale(column, samples[c], most[c]);
    gpus[c] = scales.gpus(column, scale[c]);
  });
  answer.feasible_share = share_of_finite(scale);
  answer.scale = estimate_of(scale);
  answer.gpus = estimate_of(gpus);
  answer.plan_gpus = scales.gpus(0, 1);
  answer.most_samples = estimate_of(most);
  answer.plan_samples = estimate_of(samples);
  answer.plan_day = estimate_of(day);
  answer.plan_share = share_of(day, [&](double d) { return d < answer.days; });
  if (std::isinf(answer.scale.p95)) answer.binding = binding_reason(own, answer, scales, run, machines);
  answer.one_job = one_job(own, answer, options, machines);
  return answer;
}

}  // namespace farscale
