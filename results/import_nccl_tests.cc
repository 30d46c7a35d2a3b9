// nccl-tests' output (src/util.cu of NVIDIA/nccl-tests 2.19: writeDeviceReport, writeResultHeader,
// writeBenchmarkLineBody).
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "kernels/error.h"
#include "kernels/suggest.h"
#include "results/import.h"
#include "results/json_cursor.h"

namespace farscale {
namespace {

// One placement of one size, from either format.
struct Row {
  CollectiveProblem problem = {};
  std::string type = {};
  std::vector<double> times_s = {};
  double bus_gb_per_s = 0;
  bool checked = false;
  double wrong = 0;
};

struct TypeName {
  std::string_view theirs;
  NumberType ours;
};
constexpr std::array<TypeName, 9> kTypes = {{{"float", NumberType::kFp32},
                                             {"double", NumberType::kFp64},
                                             {"half", NumberType::kFp16},
                                             {"bfloat16", NumberType::kBf16},
                                             {"int8", NumberType::kInt8},
                                             {"f8e4m3", NumberType::kFp8E4M3},
                                             {"f8e5m2", NumberType::kFp8E5M2},
                                             {"fp8_e4m3", NumberType::kFp8E4M3},
                                             {"fp8_e5m2", NumberType::kFp8E5M2}}};

// "all_reduce_perf", "./build/alltoall_perf" or our own name. Theirs without a name of ours are refused by name.
CollectiveKind kind_of(const std::string& program, const std::string& path) {
  std::string name = program.substr(program.find_last_of('/') + 1);
  if (name.ends_with("_perf")) name.resize(name.size() - 5);
  if (name == "alltoall") name = "all_to_all";
  try {
    return parse_collective_kind(name);
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: {}", path, error.what()));
  }
}

// Puts a row into the run, or counts it as left out.
class Collector {
 public:
  Collector(Run& run, int64_t iterations) : run_(run), iterations_(iterations) {}

  void add(Row row) {
    const auto type =
        std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeName& t) { return t.theirs == row.type; });
    const bool timed = !row.times_s.empty() && row.times_s[0] > 0;
    if (type == kTypes.end() || !timed || row.problem.bytes == 0) {
      ++left_out_;
      return;
    }
    row.problem.type = type->ours;
    Record record{.name = row.problem.name(), .family = "collective", .problem = row.problem};
    try {
      row.problem.validate();
    } catch (const InputError&) {
      ++left_out_;  // nccl-tests rounds odd sizes; ours divide into ranks
      return;
    }
    fill(row, record);
    const auto known =
        std::find_if(run_.records.begin(), run_.records.end(), [&](const Record& r) { return r.name == record.name; });
    if (known == run_.records.end()) {
      run_.records.push_back(std::move(record));
    } else {  // another cycle (-N) over the same sizes: more samples of the same case
      known->samples_s.insert(known->samples_s.end(), record.samples_s.begin(), record.samples_s.end());
      if (record.status == Status::kWrong) known->status = record.status, known->reason = record.reason;
    }
  }

  void finish() {
    if (left_out_ > 0) {
      run_.warnings.push_back(fmt::format("{} rows left out: types or sizes Farscale has no name for", left_out_));
    }
    if (disagreeing_ > 0) {
      run_.warnings.push_back(
          fmt::format("{} rows whose bus bandwidth is not that of their time, size and collective: "
                      "is the collective right?",
                      disagreeing_));
    }
  }

 private:
  void fill(const Row& row, Record& record) {
    record.settings["placement"] = row.problem.in_place ? "in place" : "out of place";
    record.details["statistic"] = row.times_s.size() == 1 ? "mean" : "each iteration";
    record.samples_s = row.times_s;
    record.runs_per_sample = row.times_s.size() == 1 ? iterations_ : 1;
    record.verdict = {
        .checked = row.checked, .correct = row.checked && row.wrong == 0, .detail = "nccl-tests' own check"};
    if (row.checked && row.wrong != 0) {
      record.status = Status::kWrong;
      record.reason = fmt::format("{} wrong elements", row.wrong);
    }
    const double bus = bus_bandwidth(row.problem, row.times_s[0]);
    record.counters = {{"bus_bytes_per_s", bus}, {"bytes_per_s", double(row.problem.bytes) / row.times_s[0]}};
    // Printed with two digits, so only figures of some size can disagree.
    const bool off =
        row.times_s.size() == 1 && row.bus_gb_per_s > 5 && std::abs(bus / 1e9 / row.bus_gb_per_s - 1) > 0.02;
    disagreeing_ += off;
  }

  Run& run_;
  int64_t iterations_;
  int left_out_ = 0;
  int disagreeing_ = 0;
};

double number_in(const std::string& token, const std::string& place) {
  double value = 0;
  const char* end = token.data() + token.size();
  const auto [stopped, error] = std::from_chars(token.data(), end, value);
  if (error != std::errc{} || stopped != end || !std::isfinite(value)) {
    throw InputError(fmt::format("{}: expected a number, found '{}'", place, token));
  }
  return value;
}

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

// The text: comment lines tell who ran what, the header row names the columns, the rest are rows.
class TextReader {
 public:
  TextReader(const std::string& path, std::string collective) : path_(path), program_(std::move(collective)) {
    run_.suite = "nccl-tests";
    run_.backend = "cuda";
    run_.path = path;
  }

  Run read(const std::string& text) {
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) {
      ++line_;
      const std::vector<std::string> words = words_of(line);
      if (words.empty()) continue;
      if (words[0].starts_with('#')) {
        read_comment(line, words);
      } else if (!columns_.empty() && std::isdigit(static_cast<unsigned char>(words[0][0]))) {
        rows_.emplace_back(line_, words);
      }
    }
    return finish();
  }

 private:
  void read_comment(const std::string& line, const std::vector<std::string>& words) {
    constexpr std::string_view kStarting = "Collective test starting: ";
    if (const size_t at = line.find(kStarting); at != std::string::npos && program_.empty()) {
      program_ = words_of(line.substr(at + kStarting.size())).at(0);
    }
    for (size_t i = 2; i + 1 < words.size(); ++i) {
      if (words[i] == "iters:" && words[i - 1] != "warmup" && words[i - 1] != "agg") {
        iterations_ = static_cast<int64_t>(number_in(words[i + 1], where()));
      }
    }
    if (words.size() > 2 && words[1] == "Rank") read_rank(line, words);
    if (words.size() > 8 && words[1] == "size" && words[2] == "count") columns_.assign(words.begin() + 1, words.end());
    if (line.find("Out of bounds values") != std::string::npos) run_.complete = true;  // the footer
  }

  // "#  Rank  0 Group  0 Pid 1006102 on host device  0 [0000:19:00] NVIDIA H100 80GB HBM3"
  void read_rank(const std::string& line, const std::vector<std::string>& words) {
    const auto on = std::find(words.begin(), words.end(), "on");
    if (on != words.end() && on + 1 != words.end()) run_.hosts.push_back(*(on + 1));
    const size_t bracket = line.find("] ");
    if (bracket != std::string::npos) run_.device = line.substr(bracket + 2);
    run_.ranks = static_cast<int>(run_.hosts.size());
  }

  Run finish() {
    if (columns_.empty() || run_.hosts.empty()) {
      throw InputError(fmt::format("{}: expected nccl-tests' output: found {}", path_,
                                   columns_.empty() ? "no header row (# size count type …)" : "no '# Rank …' line"));
    }
    if (program_.empty()) {
      throw InputError(fmt::format("{}: nothing says which collective ran: add --collective all_reduce", path_));
    }
    const CollectiveKind kind = kind_of(program_, path_);
    Collector collector(run_, iterations_);
    for (const auto& [line, words] : rows_) {
      line_ = line;
      add_row(kind, words, collector);
    }
    if (rows_.empty()) throw InputError(fmt::format("{}:{}: no rows after the header row (cut off?)", path_, line_));
    collector.finish();
    return std::move(run_);
  }

  void add_row(CollectiveKind kind, std::vector<std::string> words, Collector& collector) {
    std::vector<std::string> names = columns_;
    if (!names.empty() && names.back() == "timestamp") names.pop_back();  // its two words come last
    // Older versions leave redop and root blank where a collective has none.
    if (words.size() + 2 == names.size())
      std::erase_if(names, [](const auto& n) { return n == "redop" || n == "root"; });
    if (words.size() < names.size()) {
      throw InputError(
          fmt::format("{}: expected {} columns, found {} (cut off?)", where(), names.size(), words.size()));
    }
    const size_t first = time_column(names, 0), second = time_column(names, first + 1);
    for (const size_t at : {first, second}) {
      if (at + 3 >= names.size()) continue;
      Row row{.problem = {.kind = kind,
                          .bytes = static_cast<int64_t>(number_in(words[0], where())),
                          .ranks = run_.ranks,
                          .in_place = at == second},
              .type = words[2],
              .times_s = {number_in(words[at], where()) * 1e-6},
              .bus_gb_per_s = number_in(words[at + 2], where())};
      row.checked = words[at + 3] != "N/A";
      if (row.checked) row.wrong = number_in(words[at + 3], where());
      collector.add(std::move(row));
    }
  }

  static size_t time_column(const std::vector<std::string>& names, size_t from) {
    for (size_t i = from; i < names.size(); ++i) {
      if (names[i] == "time" || names[i] == "cputime") return i;
    }
    return names.size();
  }

  std::string where() const { return fmt::format("{}:{}", path_, line_); }

  const std::string& path_;
  std::string program_;
  Run run_;
  int line_ = 0;
  int64_t iterations_ = 1;
  std::vector<std::string> columns_;
  std::vector<std::pair<int, std::vector<std::string>>> rows_;
};

void add_placement(const JsonCursor& result, CollectiveProblem problem, Collector& collector) {
  const std::string key = problem.in_place ? "in_place" : "out_of_place";
  if (!result.has(key) || result.at(key).is_null()) return;
  const JsonCursor timing = result.at(key);
  problem.bytes = result.at("size").integer(0);
  Row row{.problem = problem,
          .type = result.at("type").text(),
          .times_s = {timing.at(timing.has("cpu_time") ? "cpu_time" : "time").number() * 1e-6},
          .bus_gb_per_s = timing.at("bus_bw").number()};
  row.checked = !timing.at("nwrong").is_null();
  if (row.checked) row.wrong = timing.at("nwrong").number();
  const std::string iterations = key + "_per_iter";
  if (result.has(iterations) && result.at(iterations).has("times_us")) {
    row.times_s = result.at(iterations).at("times_us").numbers();
    for (double& time : row.times_s) time *= 1e-6;
    std::erase_if(row.times_s, [](double time) { return !(time > 0); });
  }
  collector.add(std::move(row));
}

Run import_json(const std::string& text, const std::string& path, const std::string& collective) {
  const nlohmann::json document = parse_json(text, path);
  const JsonCursor root(document, path);
  const JsonCursor config = root.at("config");
  Run run;
  run.suite = "nccl-tests";
  run.backend = "cuda";
  run.path = path;
  // One entry a process, which drives nthreads x ngpus ranks.
  const int64_t per_process = config.at("nthreads").integer(1, 1024) * config.at("ngpus").integer(1, 1024);
  for (const JsonCursor& device : config.at("devices").items()) {
    run.device = device.at("device_info").text();
    run.hosts.insert(run.hosts.end(), static_cast<size_t>(per_process), device.at("hostname").text());
  }
  if (run.hosts.empty()) config.at("devices").fail("expected at least one device");
  run.ranks = static_cast<int>(run.hosts.size());
  run.complete = root.has("end_time");
  if (root.has("nccl_version")) run.environment["nccl"] = fmt::format("{}", root.at("nccl_version").integer());
  const std::vector<std::string> arguments = root.at("args").texts();  // "env" beside it may hold secrets: left out
  const std::string program = !collective.empty() ? collective : arguments.empty() ? "" : arguments[0];
  Collector collector(run, std::max<int64_t>(1, config.at("iterations").integer()));
  const CollectiveKind kind = kind_of(program, path);
  for (const JsonCursor& result : root.at("results").items()) {
    for (const bool in_place : {false, true}) {
      add_placement(result, {.kind = kind, .ranks = run.ranks, .in_place = in_place}, collector);
    }
  }
  collector.finish();
  return run;
}

}  // namespace

Run import_nccl_tests(const std::string& text, const std::string& path, const std::string& collective) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && text[first] == '{') return import_json(text, path, collective);
  return TextReader(path, collective).read(text);
}

}  // namespace farscale
