// nccl-tests' text output (src/util.cu of NVIDIA/nccl-tests 2.19: writeDeviceReport, writeResultHeader,
// writeBenchmarkLineBody).
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "kernels/error.h"
#include "results/import.h"
#include "results/nccl_rows.h"

namespace farscale {
namespace {

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
    const CollectiveKind kind = nccl_kind(program_, path_);
    NcclRows collector(run_, iterations_);
    for (const auto& [line, words] : rows_) {
      line_ = line;
      add_row(kind, words, collector);
    }
    if (rows_.empty()) throw InputError(fmt::format("{}:{}: no rows after the header row (cut off?)", path_, line_));
    collector.finish();
    return std::move(run_);
  }

  void add_row(CollectiveKind kind, std::vector<std::string> words, NcclRows& collector) {
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
      NcclRow row{.problem = {.kind = kind,
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

}  // namespace

Run import_nccl_tests(const std::string& text, const std::string& path, const std::string& collective) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && text[first] == '{') return import_nccl_json(text, path, collective);
  return TextReader(path, collective).read(text);
}

}  // namespace farscale
