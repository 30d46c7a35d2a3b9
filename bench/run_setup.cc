// Setting a run up.
#include "bench/run_setup.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <filesystem>
#include <functional>
#include <thread>

#include "bench/environment.h"
#include "bench/sampler.h"
#include "bench/session.h"
#include "kernels/launch.h"
#include "kernels/module.h"
#include "kernels/suggest.h"

namespace farscale {
namespace {

namespace fs = std::filesystem;

// 0 for "auto".
double scale_of(const RunRequest& request) {
  if (request.scale.empty() || request.scale == "auto") return 0;
  double scale = 0;
  const char* end = request.scale.data() + request.scale.size();
  const auto [at, error] = std::from_chars(request.scale.data(), end, scale);
  if (error != std::errc() || at != end || !(scale >= 1 && scale <= 1e9)) {
    throw InputError(fmt::format("--scale: expected 'auto' or a number from 1 to 1e9, found '{}'", request.scale));
  }
  return scale;
}

void check_request(const RunRequest& request, const GoogleFlags& flags) {
  const std::vector<std::string> backends = {"auto", "cuda", "host"};
  if (std::find(backends.begin(), backends.end(), request.backend) == backends.end()) {
    throw InputError("--backend: " + unknown_name("backend", request.backend, backends));
  }
  for (const std::string& family : request.only) {
    if (std::find(kFamilies.begin(), kFamilies.end(), family) == kFamilies.end()) {
      throw InputError("--only: " + unknown_name("family", family, kFamilies));
    }
  }
  scale_of(request);
  check_step_layout(request.layout);
  const double budget_s = request.budget_s.value_or(1);
  if (!(budget_s >= 1e-3 && budget_s <= 86400)) {
    throw InputError(fmt::format("--budget: expected seconds a case from 0.001 to 86400, found {}", budget_s));
  }
  if (request.json && !flags.format.empty()) {
    throw InputError("--json and --benchmark_format both want stdout: choose one");
  }
}

// What the command line says of steps would be ignored without one.
void check_step_flags(const RunRequest& request, const Suite& suite) {
  const bool wanted =
      request.only.empty() || std::find(request.only.begin(), request.only.end(), "step") != request.only.end();
  if (wanted && !suite.step.empty()) return;
  const char* flag = !request.scale.empty() ? "--scale" : !request.layout.empty() ? "--layout" : "--input";
  if (request.scale.empty() && request.layout.empty() && !request.input) return;
  throw InputError(fmt::format("{}: only steps have it, and {}", flag,
                               wanted ? fmt::format("suite '{}' has none", suite.name) : "--only leaves them out"));
}

Suite read_suite(const RunRequest& request, const Agreement& agreement) {
  std::string text;
  agreement.on_first([&] { text = suite_text(request.suite); });
  text = agreement.world().broadcast(text);
  Suite suite;
  agreement.together([&] {
    suite = parse_suite(text, request.suite);
    check_step_flags(request, suite);
  });
  if (!request.workload.empty()) suite.workload = request.workload;
  for (StepEntry& step : suite.step) {
    if (!request.scale.empty()) step.scale = scale_of(request);
    if (!request.layout.empty()) step.layout = request.layout;
    step.input = step.input || request.input;
  }
  return suite;
}

// Ranks that were started differently would wait for each other in different cases.
void agree_on_request(const RunRequest& request, const std::vector<Case>& cases, const Agreement& agreement) {
  std::string own = fmt::format("{} {} {}", request.backend, request.list, request.input);
  for (const Case& item : cases) {
    const Sampling& s = item.sampling;
    own += fmt::format("\n{} {} {} {} {} {} {} {}", item.name, s.interval, s.budget_s, s.least_samples, s.most_samples,
                       s.sample_s, s.cool_s, s.sustain_s);
  }
  const std::vector<std::string> all = agreement.world().gather(fmt::format("{:x}", std::hash<std::string>{}(own)));
  const auto other = std::find_if(all.begin(), all.end(), [&](const std::string& one) { return one != all.front(); });
  if (other == all.end()) return;
  throw AgreedError(ExitCode::kBadInput,
                    fmt::format("rank {} was started with other arguments than rank 0: every rank needs the same",
                                other - all.begin()));
}

std::string plural(size_t count, const char* one) { return fmt::format("{} {}{}", count, one, count == 1 ? "" : "s"); }

// Ranks that share this host's CPUs make each other slower: worth a line in every result.
void warn_of_sharing(const std::vector<std::string>& hosts, Run& run) {
  const auto here = static_cast<size_t>(std::count(hosts.begin(), hosts.end(), hosts.front()));
  const size_t cpus = std::max(1U, std::thread::hardware_concurrency());
  if (here <= cpus) return;
  run.warnings.push_back(fmt::format("{} on {} of {}: they take turns, timings are not those of separate machines",
                                     plural(here, "rank"), plural(cpus, "CPU"), hosts.front()));
}

// The same program started N times by one parent, each finding itself alone: a launcher of another MPI, srun without
// PMI, or a loop of a shell.
void warn_of_lone_processes(const World& world, Run& run) {
  const size_t others = world.size() == 1 ? siblings().size() : 0;
  if (others == 0) return;
  run.warnings.push_back(fmt::format(
      "{} more farscale {} of the same parent beside this one, each alone: if a launcher was to make them ranks of one "
      "run, use that of the MPI this program was built with, or set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT",
      others, others == 1 ? "process runs" : "processes run"));
}

}  // namespace

RunPlan plan_run(const RunRequest& request, const Agreement& agreement) {
  RunPlan plan;
  agreement.together([&] {
    plan.flags = parse_google_flags(request.extra, request.own_flags);
    check_request(request, plan.flags);
  });
  plan.suite = read_suite(request, agreement);
  agreement.together([&] {
    if (needs_workload(plan.suite, request.only)) plan.workload = load_workload(plan.suite.workload);
    const ExpandOptions options{.ranks = agreement.world().size(),
                                .only = request.only,
                                .budget_s = request.budget_s.value_or(0),
                                .exact_samples = plan.flags.repetitions};
    plan.cases = expand_suite(plan.suite, plan.workload ? &*plan.workload : nullptr, options);
    for (const Case& item : plan.cases) {
      if (item.problem) validate(*item.problem);
    }
    if (plan.cases.empty()) {
      throw InputError(
          fmt::format("{}: no case{}", request.suite, request.only.empty() ? "" : " that --only lets through"));
    }
  });
  agree_on_request(request, plan.cases, agreement);
  plan.cases = filtered(std::move(plan.cases), plan.flags, agreement);
  return plan;
}

ChosenBackend choose_backend(const std::string& wanted, World& world) {
  const Agreement agreement(world);
  const Clock clock = steady_clock_s();
  ChosenBackend chosen;
  std::string missing;
  for (const std::string& name : wanted == "auto" ? std::vector<std::string>{"cuda", "host"} : std::vector{wanted}) {
    const double start_s = clock();
    std::string reason;
    try {
      auto opened = open_backend(name, world);
      if (opened) chosen.backend = std::move(*opened);
      if (!chosen.backend) reason = opened.reason().empty() ? "it gave no reason" : opened.reason();
    } catch (const std::exception& error) {
      reason = error.what();
    }
    reason = agreement.reason(reason);
    if (reason.empty()) {
      chosen.name = name;
      chosen.why = missing;
      chosen.start_s = std::max(clock() - start_s, 1e-9);
      return chosen;
    }
    chosen.backend.reset();
    missing += fmt::format("{}{}: {}", missing.empty() ? "" : "; ", name, reason);
  }
  throw AgreedError(ExitCode::kEnvironment, fmt::format("no backend to measure with: {}", missing));
}

Run describe_run(const RunRequest& request, const RunPlan& plan, const ChosenBackend& chosen, const World& world) {
  const DeviceReport device = chosen.backend->device();
  Run run;
  run.suite = plan.suite.name;
  run.backend = chosen.name;
  run.device = device.name;
  run.ranks = world.size();
  run.hosts = world.hosts();
  run.environment = capture_environment(world, device);
  run.warnings = device.warnings;
  if (!chosen.why.empty()) run.environment["backend_choice"] = chosen.why;
  if (!request.only.empty()) run.environment["only"] = fmt::format("{}", fmt::join(request.only, ","));
  if (!plan.flags.filter.empty()) run.environment["filter"] = plan.flags.filter;
  for (const auto& [key, value] : plan.flags.context) run.environment["context." + key] = value;
  warn_of_sharing(run.hosts, run);
  warn_of_lone_processes(world, run);
  return run;
}

std::string default_result_name(const std::string& backend, const std::string& suite, const std::string& host) {
  std::string name =
      fmt::format("farscale-{}-{}-{}-{:%Y%m%dT%H%M%SZ}", backend, suite, host, fmt::gmtime(std::time(nullptr)));
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '_' && c != '.') c = '_';
  }
  return name + ".json";
}

void check_google_out(const GoogleFlags& flags) {
  if (flags.out.empty()) return;
  if (fs::exists(flags.out)) {
    throw InputError(fmt::format("--benchmark_out: {} exists already and is never overwritten", flags.out));
  }
  const fs::path folder = fs::path(flags.out).parent_path();
  if (::access(folder.empty() ? "." : folder.c_str(), W_OK) != 0) {
    throw EnvironmentError(fmt::format("--benchmark_out: no file can be written to the folder of {}", flags.out));
  }
}

}  // namespace farscale
