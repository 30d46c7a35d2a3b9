// farscale-predict-speed: what a prediction costs from 8 to 1,000,000 GPUs, as medians with the middle nine tenths, and
// the memory it takes. The curve should be flat: nothing in the model counts ranks one by one.
#include <fmt/format.h>
#include <sys/resource.h>

#include <chrono>
#include <functional>

#include "cluster/predictor.h"
#include "kernels/error.h"
#include "kernels/format.h"
#include "results/statistics.h"

namespace farscale {
namespace {

constexpr int64_t kSizes[] = {8, 64, 512, 4096, 50'000, 300'000, 1'000'000};

// Seconds of `runs` calls, each.
std::vector<double> times_of(int runs, const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> times;
  for (int i = 0; i < runs; ++i) {
    const auto start = Clock::now();
    work();
    times.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  return times;
}

std::string shown(const std::vector<double>& times) {
  return fmt::format("{} ({} … {})", format_seconds(median(times)), format_seconds(quantile(times, 0.05)),
                     format_seconds(quantile(times, 0.95)));
}

// Largest memory the process has held so far.
double resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return double(usage.ru_maxrss) * 1024;
}

// One layout at one size, its step lowered before: what a search and a draw pay.
std::string price_layout(const Workload& workload, const Machine& machine, const Layout& layout, int64_t gpus) {
  Predictor predictor(workload, machine, {.draws = 20});
  const Choice choice{.layout = layout};
  predictor.median_times(choice, gpus);
  return shown(times_of(2001, [&] { predictor.median_times(choice, gpus); }));
}

std::string price_prediction(const Workload& workload, const Machine& machine, int64_t gpus) {
  return shown(times_of(5, [&] { predict(workload, machine, gpus, {.draws = 10'000}); }));
}

void print_curve() {
  const Machine machine = load_hardware("h100-sxm");
  const Workload vision = load_workload("hydranet-regnety16gf"), language = load_workload("gpt3-175b");
  TextTable table({"GPUs", "one layout, " + vision.name(), "one layout, tp=8 pp=8 of " + language.name(),
                   "10,000 draws, " + vision.name(), "memory so far"});
  for (const int64_t gpus : kSizes) {
    const bool enough = gpus % 64 == 0;
    table.add(
        {format_count(double(gpus)), price_layout(vision, machine, {.dp = gpus}, gpus),
         enough ? price_layout(language, machine, {.dp = gpus / 64, .tp = 8, .pp = 8, .accumulation = 64}, gpus) : "-",
         price_prediction(vision, machine, gpus), format_bytes(resident_bytes())});
  }
  fmt::print("{}", table.str());
}

void print_search() {
  const Machine machine = load_hardware("h100-sxm");
  const Workload language = load_workload("gpt3-175b");
  for (const int64_t gpus : {int64_t{512}, int64_t{16'384}}) {
    size_t weighed = 0;
    const std::vector<double> times = times_of(5, [&] {
      Predictor predictor(language, machine, {.draws = 20});
      weighed = predictor.candidates(gpus).size();
    });
    fmt::print("search of {} on {} GPUs: {} layouts in {}, {} a layout\n", language.name(), format_count(double(gpus)),
               format_count(double(weighed)), shown(times), format_seconds(median(times) / double(weighed)));
  }
}

}  // namespace
}  // namespace farscale

int main() {
  try {
    fmt::print("medians (5th … 95th percentile) on one core\n");
    farscale::print_curve();
    farscale::print_search();
    return 0;
  } catch (const farscale::Error& error) {
    fmt::print(stderr, "farscale-predict-speed: {}\n", error.what());
    return static_cast<int>(error.code());
  }
}
