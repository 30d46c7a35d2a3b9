// Accepting, refusing and suggesting flags.
#include "bench/google_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <map>

#include "kernels/error.h"
#include "kernels/suggest.h"

namespace farscale {
namespace {

struct Refusal {
  std::string_view flag;
  std::string_view why;
};

// Each was seen to deadlock or mislead on 1.7.1, or adds nothing to our own sampling.
constexpr std::array kRefused = {
    Refusal{"benchmark_min_time", "each rank would run until its own clock says stop; use --budget SECONDS"},
    Refusal{"benchmark_min_warmup_time", "it adds calls that ranks do not agree on; every case is warmed up already"},
    Refusal{"benchmark_enable_random_interleaving",
            "each process would shuffle with its own seed; the suite's order is the order"},
    Refusal{"benchmark_perf_counters", "counters are read inside the timed part; use perf stat -- farscale run …"},
    Refusal{"benchmark_report_aggregates_only",
            "a result file keeps every raw sample; medians and intervals are in the tables"},
    Refusal{"benchmark_display_aggregates_only", "the tables show medians already"},
    Refusal{"benchmark_dry_run", "use --list"},
};

std::string choice(const std::string& flag, const std::string& value, const std::vector<std::string>& valid) {
  if (std::find(valid.begin(), valid.end(), value) == valid.end()) {
    throw InputError(fmt::format("--{}: {}", flag, unknown_name("value", value, valid)));
  }
  return value;
}

bool truth(const std::string& flag, const std::string& value) {
  if (value.empty()) return true;  // the bare flag
  return choice(flag, value, {"true", "false", "1", "0", "yes", "no"}).find_first_of("t1y") == 0;
}

int64_t count(const std::string& flag, const std::string& value) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size() || number < 1 || number > 1000000) {
    throw InputError(fmt::format("--{}: expected a whole number from 1 to 1000000, found '{}'", flag, value));
  }
  return number;
}

std::string text(const std::string& flag, const std::string& value) {
  if (value.empty()) throw InputError(fmt::format("--{} wants a value: --{}=VALUE", flag, flag));
  return value;
}

// "key=value,key2=value2", as Google Benchmark writes it.
std::vector<std::pair<std::string, std::string>> pairs(const std::string& flag, const std::string& value) {
  std::vector<std::pair<std::string, std::string>> found;
  std::string rest = text(flag, value);
  while (!rest.empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string item = rest.substr(0, comma);
    const size_t equals = item.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw InputError(fmt::format("--{}: expected KEY=VALUE, found '{}'", flag, item));
    }
    found.emplace_back(item.substr(0, equals), item.substr(equals + 1));
    rest.erase(0, std::min(comma + 1, rest.size()));
  }
  return found;
}

using Setter = std::function<void(GoogleFlags&, const std::string& value)>;

const std::map<std::string, Setter>& setters() {
  static const std::map<std::string, Setter> kSetters = {
      {"benchmark_filter", [](auto& f, auto& v) { f.filter = text("benchmark_filter", v); }},
      {"benchmark_list_tests", [](auto& f, auto& v) { f.list_tests = truth("benchmark_list_tests", v); }},
      {"benchmark_format",
       [](auto& f, auto& v) {
         f.format = choice("benchmark_format", v, {"console", "json", "csv"});
       }},
      {"benchmark_out", [](auto& f, auto& v) { f.out = text("benchmark_out", v); }},
      {"benchmark_out_format",
       [](auto& f, auto& v) {
         f.out_format = choice("benchmark_out_format", v, {"console", "json", "csv"});
       }},
      {"benchmark_color",
       [](auto& f, auto& v) {
         f.color = choice("benchmark_color", v, {"auto", "true", "false"});
       }},
      {"benchmark_counters_tabular",
       [](auto& f, auto& v) { f.counters_tabular = truth("benchmark_counters_tabular", v); }},
      {"benchmark_time_unit",
       [](auto& f, auto& v) {
         f.time_unit = choice("benchmark_time_unit", v, {"ns", "us", "ms", "s"});
       }},
      {"benchmark_repetitions", [](auto& f, auto& v) { f.repetitions = count("benchmark_repetitions", v); }},
      {"benchmark_context", [](auto& f, auto& v) { f.context = pairs("benchmark_context", v); }},
  };
  return kSetters;
}

[[noreturn]] void refuse(const std::string& argument, const std::string& flag, const std::vector<std::string>& own) {
  for (const Refusal& refused : kRefused) {
    if (flag == refused.flag) throw InputError(fmt::format("--{} is not taken: {}", flag, refused.why));
  }
  if (!argument.starts_with("-")) {
    throw InputError(fmt::format("unexpected argument '{}': expected one suite, and values as --flag=value", argument));
  }
  std::vector<std::string> known = own;
  for (const auto& [name, setter] : setters()) known.push_back("--" + name);
  throw InputError(unknown_name("flag", argument.substr(0, argument.find('=')), known));
}

}  // namespace

GoogleFlags parse_google_flags(const std::vector<std::string>& arguments, const std::vector<std::string>& own_flags) {
  GoogleFlags flags;
  for (const std::string& argument : arguments) {
    const size_t equals = std::min(argument.find('='), argument.size());
    const std::string flag = argument.starts_with("--") ? argument.substr(2, equals - 2) : "";
    const std::string value = equals < argument.size() ? argument.substr(equals + 1) : "";
    const auto setter = setters().find(flag);
    if (setter == setters().end()) refuse(argument, flag, own_flags);
    setter->second(flags, value);
  }
  if (!flags.out.empty() && flags.out_format.empty()) flags.out_format = "json";
  return flags;
}

}  // namespace farscale
