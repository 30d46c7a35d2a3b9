// The fence around Google Benchmark 1.7.1 (Debian 12) and 1.8.3 (Ubuntu 24.04).
#include "bench/google_driver.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <regex.h>
#include <unistd.h>

#include <array>
#include <iostream>
#include <memory>
#include <sstream>

#include "kernels/error.h"

namespace farscale {
namespace {

class NullReporter final : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>&) override {}
};

// A stream that swallows: the context and the "built as DEBUG" warning of Debian's library go there.
std::ostream& nowhere() {
  static std::ostream stream(nullptr);
  return stream;
}

// Passes runs on with all runs of all samples as iterations, because each case is one iteration to the library. A case
// without a timing is one line on the console: a skip is no error.
template <typename Base>
class Reporter final : public Base {
 public:
  using Run = benchmark::BenchmarkReporter::Run;

  explicit Reporter(const std::vector<RunOutcome>& outcomes, auto... arguments)
      : Base(arguments...), outcomes_(outcomes) {}

  void ReportRuns(const std::vector<Run>& runs) override {
    std::vector<Run> shown;
    for (Run run : runs) {
      const RunOutcome& outcome = outcomes_.at(static_cast<size_t>(run.family_index));
      run.run_name.iterations.clear();
      run.run_name.time_type.clear();
      if (!outcome.ok && std::is_same_v<Base, benchmark::ConsoleReporter>) {
        this->GetOutputStream() << fmt::format("{}  {}\n", run.benchmark_name(), outcome.reason) << std::flush;
        continue;
      }
      run.iterations = outcome.runs;
      run.real_accumulated_time *= static_cast<double>(outcome.runs);
      run.cpu_accumulated_time = 0;  // was that of preparing and checking too
      shown.push_back(std::move(run));
    }
    if (!shown.empty()) Base::ReportRuns(shown);
  }

 private:
  const std::vector<RunOutcome>& outcomes_;
};

using Console = Reporter<benchmark::ConsoleReporter>;
using Json = Reporter<benchmark::JSONReporter>;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
using Csv = Reporter<benchmark::CSVReporter>;
#pragma GCC diagnostic pop

benchmark::ConsoleReporter::OutputOptions console_options(const GoogleFlags& flags, int descriptor) {
  const bool color = flags.color == "true" || (flags.color == "auto" && ::isatty(descriptor) != 0);
  return static_cast<benchmark::ConsoleReporter::OutputOptions>(
      (color ? benchmark::ConsoleReporter::OO_Color : 0) |
      (flags.counters_tabular ? benchmark::ConsoleReporter::OO_Tabular : 0));
}

std::unique_ptr<benchmark::BenchmarkReporter> make_reporter(const std::string& format, const GoogleFlags& flags,
                                                            int descriptor, const std::vector<RunOutcome>& outcomes) {
  if (format == "json") return std::make_unique<Json>(outcomes);
  if (format == "csv") return std::make_unique<Csv>(outcomes);
  return std::make_unique<Console>(outcomes, console_options(flags, descriptor));
}

std::unique_ptr<benchmark::BenchmarkReporter> make_display(Display display, const GoogleFlags& flags,
                                                           const std::vector<RunOutcome>& outcomes) {
  if (display == Display::kNothing) return std::make_unique<NullReporter>();
  const bool progress = display == Display::kProgressOnStderr;
  auto reporter = make_reporter(progress ? "console" : flags.format, flags, progress ? 2 : 1, outcomes);
  reporter->SetOutputStream(progress ? &std::cerr : &std::cout);
  reporter->SetErrorStream(&nowhere());
  return reporter;
}

// The library up to 1.7 refuses a least time with a unit, later ones warn of one without. (A case has one iteration
// whatever it says.)
template <typename Run>
concept RunOfLibrary17 = requires(Run run) {
  run.error_occurred;
};
constexpr const char* kLeastTime =
    RunOfLibrary17<benchmark::BenchmarkReporter::Run> ? "--benchmark_min_time=0.5" : "--benchmark_min_time=0.5s";

// Sets every flag of the library, because each also has a default from the environment (BENCHMARK_REPETITIONS=…), which
// would differ between ranks or add calls.
void set_flags(bool list, const std::string& out, const GoogleFlags& flags) {
  std::vector<std::string> arguments = {"--benchmark_filter=.",
                                        fmt::format("--benchmark_list_tests={}", list),
                                        kLeastTime,
                                        "--benchmark_min_warmup_time=0",
                                        "--benchmark_repetitions=1",
                                        "--benchmark_enable_random_interleaving=false",
                                        "--benchmark_report_aggregates_only=false",
                                        "--benchmark_display_aggregates_only=false",
                                        "--benchmark_format=console",
                                        "--benchmark_out=" + out,
                                        "--benchmark_out_format=" + flags.out_format,
                                        "--benchmark_color=" + flags.color,
                                        fmt::format("--benchmark_counters_tabular={}", flags.counters_tabular),
                                        "--benchmark_perf_counters=",
                                        "--benchmark_time_unit=" + flags.time_unit,
                                        "--v=0"};
  static char program[] = "farscale";  // the library keeps the pointer to the program's name
  std::vector<char*> pointers = {program};
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  int count = static_cast<int>(pointers.size());
  benchmark::Initialize(&count, pointers.data());
}

benchmark::TimeUnit unit_of(const std::string& text) {
  if (text == "ns") return benchmark::kNanosecond;
  if (text == "ms") return benchmark::kMillisecond;
  return text == "s" ? benchmark::kSecond : benchmark::kMicrosecond;
}

// The library's regular expressions are POSIX extended; it would only print that one does not compile.
void check_filter(const std::string& filter) {
  const std::string pattern = filter.starts_with("-") ? filter.substr(1) : filter;
  regex_t compiled{};
  const int code = ::regcomp(&compiled, pattern.c_str(), REG_EXTENDED | REG_NOSUB);
  if (code == 0) {
    ::regfree(&compiled);
    return;
  }
  std::array<char, 256> why{};
  ::regerror(code, &compiled, why.data(), why.size());
  throw InputError(fmt::format("--benchmark_filter: '{}' is no regular expression: {}", filter, why.data()));
}

void run_one(benchmark::State& state, RunOutcome& outcome, const std::function<RunOutcome(size_t)>& body,
             size_t index) {
  for (auto _ : state) {
    outcome = body(index);
    if (!outcome.ok) {
      state.SkipWithError(outcome.reason.c_str());
      break;
    }
    state.SetIterationTime(outcome.time_s);
  }
  for (const auto& [name, value] : outcome.counters) state.counters[name] = value;
}

}  // namespace

std::vector<std::string> matching_names(const std::vector<std::string>& names, const GoogleFlags& flags) {
  if (flags.filter.empty() || names.empty()) return names;
  check_filter(flags.filter);
  benchmark::ClearRegisteredBenchmarks();
  for (const std::string& name : names) benchmark::RegisterBenchmark(name.c_str(), [](benchmark::State&) {});
  set_flags(true, "", flags);
  std::ostringstream listed;
  NullReporter reporter;
  reporter.SetOutputStream(&listed);
  reporter.SetErrorStream(&nowhere());
  benchmark::RunSpecifiedBenchmarks(&reporter, flags.filter);
  benchmark::ClearRegisteredBenchmarks();
  std::vector<std::string> matching;
  std::istringstream lines(listed.str());
  for (std::string line; std::getline(lines, line);) matching.push_back(line);
  if (matching.empty()) {
    throw InputError(
        fmt::format("--benchmark_filter: '{}' matches none of {} cases; the first is '{}', --list shows all",
                    flags.filter, names.size(), names.front()));
  }
  return matching;
}

void drive(const std::vector<std::string>& names, const GoogleFlags& flags, Display display,
           const std::function<RunOutcome(size_t index)>& body) {
  std::vector<RunOutcome> outcomes(names.size());
  benchmark::ClearRegisteredBenchmarks();
  for (size_t i = 0; i < names.size(); ++i) {
    benchmark::RegisterBenchmark(names[i].c_str(),
                                 [&, i](benchmark::State& state) { run_one(state, outcomes[i], body, i); })
        ->Iterations(1)
        ->UseManualTime()
        ->Unit(unit_of(flags.time_unit));
  }
  const bool writes = display != Display::kNothing || !flags.out.empty();
  set_flags(false, flags.out, flags);
  for (const auto& [key, value] : flags.context) {
    if (writes) benchmark::AddCustomContext(key, value);
  }
  const auto reporter = make_display(display, flags, outcomes);
  if (flags.out.empty()) {
    benchmark::RunSpecifiedBenchmarks(reporter.get(), ".");
  } else {
    const auto file = make_reporter(flags.out_format, flags, -1, outcomes);
    benchmark::RunSpecifiedBenchmarks(reporter.get(), file.get(), ".");
  }
  benchmark::ClearRegisteredBenchmarks();
}

}  // namespace farscale
