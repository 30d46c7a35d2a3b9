// How long plans take: one deterministic run, and 1,000 replicas of two years of 300,000 GPUs with every failure and
// repair an event. Not a test: prints one JSON document. Usage: plan_bench [PLAN]
#include <fmt/format.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <string>
#include <thread>

#include "cluster/plan_run.h"

namespace {

// Wall and processor time; the latter, over all threads, means something on a busy machine too.
struct Times {
  double wall_s = 0, processor_s = 0;
  std::string json() const {
    return fmt::format("{{\"wall_s\": {:.4f}, \"processor_s\": {:.4f}}}", wall_s, processor_s);
  }
};

Times time_of(const farscale::Plan& plan, const farscale::RunOptions& options, const farscale::MachineSource& machines,
              farscale::PlanReport* report = nullptr) {
  const auto start = std::chrono::steady_clock::now();
  const std::clock_t processor = std::clock();
  farscale::PlanReport done = farscale::run_plan(plan, options, machines);
  const Times times{std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
                    double(std::clock() - processor) / CLOCKS_PER_SEC};
  if (report) *report = std::move(done);
  return times;
}

}  // namespace

int main(int argc, char** argv) {
  const farscale::Plan plan = farscale::load_plan(argc > 1 ? argv[1] : "xai-300k-b200");
  const farscale::MachineSource known = farscale::remembering(farscale::machine_for);
  const Times deterministic = time_of(plan, {.draws = 0}, farscale::machine_for);
  const Times closed_form = time_of(plan, {.draws = 1000}, known);
  farscale::PlanReport report;
  const Times events = time_of(plan, {.draws = 1000, .events = true}, known, &report);
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto most = [&report](farscale::Total total) { return report.outcomes[size_t(total)].estimate.p50; };
  std::fputs(fmt::format("{{\"plan\": \"{}\", \"days\": {}, \"threads\": {},\n \"deterministic\": {},\n "
                         "\"closed_form_1000_draws\": {},\n \"events_1000_draws\": {},\n \"failures_a_draw\": {:.0f}, "
                         "\"repairs_a_draw\": {:.0f}, \"peak_memory_mb\": {:.0f}}}\n",
                         plan.name, plan.days(), std::thread::hardware_concurrency(), deterministic.json(),
                         closed_form.json(), events.json(), most(farscale::Total::kFailures),
                         most(farscale::Total::kRepairs), double(usage.ru_maxrss) / 1024)
                 .c_str(),
             stdout);
}
