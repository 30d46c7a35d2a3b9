// Strict CSV.
#include "results/csv.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <set>

#include "kernels/error.h"
#include "kernels/suggest.h"
#include "results/result_file.h"

namespace farscale {
namespace {

// One record of the file and the line it begins at.
struct CsvRow {
  int line = 1;
  std::vector<std::string> fields;
};

// Walks over the text a record at a time.
class CsvScanner {
 public:
  CsvScanner(std::string_view text, const std::string& path) : text_(text), path_(path) {
    if (text_.starts_with("\xEF\xBB\xBF")) at_ = 3;
  }

  bool next(CsvRow& row) {
    while (at_ < text_.size() && at_end_of_line()) skip_end_of_line();
    if (at_ >= text_.size()) return false;
    row.line = line_;
    row.fields.clear();
    row.fields.push_back(field());
    while (at_ < text_.size() && text_[at_] == ',') {
      ++at_;
      row.fields.push_back(field());
    }
    if (at_ < text_.size()) skip_end_of_line();
    return true;
  }

 private:
  bool at_end_of_line() const { return text_[at_] == '\n' || text_.substr(at_).starts_with("\r\n"); }

  void skip_end_of_line() {
    at_ += text_[at_] == '\r' ? 2 : 1;
    ++line_;
  }

  std::string field() { return at_ < text_.size() && text_[at_] == '"' ? quoted() : plain(); }

  std::string plain() {
    std::string value;
    for (; at_ < text_.size() && text_[at_] != ',' && !at_end_of_line(); ++at_) {
      if (text_[at_] == '"') fail("a quote inside a field without quotes");
      value += text_[at_];
    }
    return value;
  }

  std::string quoted() {
    const int begin = line_;
    std::string value;
    for (++at_; at_ < text_.size(); ++at_) {
      if (text_[at_] == '"') {
        ++at_;
        const bool doubled = at_ < text_.size() && text_[at_] == '"';
        if (!doubled) return ended(std::move(value));
      }
      if (text_[at_] == '\n') ++line_;
      value += text_[at_];
    }
    line_ = begin;
    fail("the quote that begins here is never closed (truncated?)");
  }

  std::string ended(std::string value) {
    const bool clean = at_ >= text_.size() || text_[at_] == ',' || at_end_of_line();
    if (!clean) fail("expected a comma or the end of the line after the closing quote");
    return value;
  }

  [[noreturn]] void fail(std::string_view message) const {
    throw InputError(fmt::format("{}:{}: {}", path_, line_, message));
  }

  std::string_view text_;
  const std::string& path_;
  size_t at_ = 0;
  int line_ = 1;
};

std::string range_text(double least, double most) {
  if (std::isinf(least) && std::isinf(most)) return "a number";
  if (std::isinf(most)) return fmt::format("a number of at least {}", least);
  return std::isinf(least) ? fmt::format("a number of at most {}", most)
                           : fmt::format("a number from {} to {}", least, most);
}

void check_header(const std::vector<std::string>& columns, const std::string& path, int line) {
  std::set<std::string> seen;
  for (const std::string& column : columns) {
    if (column.empty()) throw InputError(fmt::format("{}:{}: a column without a name in the header row", path, line));
    if (!seen.insert(column).second) {
      throw InputError(fmt::format("{}:{}: column '{}' appears twice in the header row", path, line, column));
    }
  }
}

}  // namespace

bool CsvTable::has(std::string_view column) const {
  return std::find(columns_.begin(), columns_.end(), column) != columns_.end();
}

size_t CsvTable::index_of(std::string_view column) const {
  const auto found = std::find(columns_.begin(), columns_.end(), column);
  if (found != columns_.end()) return static_cast<size_t>(found - columns_.begin());
  const std::string nearest = nearest_name(column, columns_);
  throw InputError(fmt::format("{}:1: no column '{}'{}; the header row has: {}", path_, column,
                               nearest.empty() ? "" : fmt::format(" (is '{}' meant to be it?)", nearest),
                               fmt::join(columns_, ", ")));
}

const std::string& CsvTable::text(size_t row, std::string_view column) const {
  return cells_.at(row)[index_of(column)];
}

std::string CsvTable::text_or(size_t row, std::string_view column, std::string_view fallback) const {
  return has(column) ? text(row, column) : std::string(fallback);
}

std::optional<double> CsvTable::maybe_number(size_t row, std::string_view column, double least, double most) const {
  const std::string& cell = text(row, column);
  if (cell.empty()) return std::nullopt;
  double value = 0;
  const char* end = cell.data() + cell.size();
  const auto [stopped, error] = std::from_chars(cell.data(), end, value);
  const bool good = error == std::errc{} && stopped == end && std::isfinite(value) && value >= least && value <= most;
  if (!good) fail(row, column, fmt::format("expected {}, found '{}'", range_text(least, most), cell));
  return value;
}

double CsvTable::number(size_t row, std::string_view column, double least, double most) const {
  const std::optional<double> value = maybe_number(row, column, least, most);
  if (!value) fail(row, column, fmt::format("expected {}, found an empty cell", range_text(least, most)));
  return *value;
}

int64_t CsvTable::integer(size_t row, std::string_view column, int64_t least, int64_t most) const {
  const std::string& cell = text(row, column);
  int64_t value = 0;
  const char* end = cell.data() + cell.size();
  const auto [stopped, error] = std::from_chars(cell.data(), end, value);
  if (error != std::errc{} || stopped != end || value < least || value > most) {
    fail(row, column, fmt::format("expected a whole number from {} to {}, found '{}'", least, most, cell));
  }
  return value;
}

void CsvTable::expect_columns(const std::vector<std::string>& required) const {
  for (const std::string& column : required) index_of(column);
}

void CsvTable::expect_columns(const std::vector<std::string>& required,
                              const std::vector<std::string>& optional) const {
  expect_columns(required);
  std::vector<std::string> known = required;
  known.insert(known.end(), optional.begin(), optional.end());
  for (const std::string& column : columns_) {
    if (std::find(known.begin(), known.end(), column) != known.end()) continue;
    throw InputError(fmt::format("{}:1: {}", path_, unknown_name("column", column, known)));
  }
}

std::string CsvTable::where(size_t row) const { return fmt::format("{}:{}", path_, lines_.at(row)); }

void CsvTable::fail(size_t row, std::string_view column, std::string_view message) const {
  throw InputError(fmt::format("{}: {}: {}", where(row), column, message));
}

CsvTable parse_csv(std::string_view text, const std::string& path) {
  CsvScanner scanner(text, path);
  CsvRow row;
  if (!scanner.next(row)) throw InputError(fmt::format("{}:1: empty: expected a header row", path));
  CsvTable table;
  table.path_ = path;
  table.columns_ = row.fields;
  check_header(table.columns_, path, row.line);
  while (scanner.next(row)) {
    if (row.fields.size() != table.columns_.size()) {
      throw InputError(fmt::format("{}:{}: expected {} fields as in the header row, found {}", path, row.line,
                                   table.columns_.size(), row.fields.size()));
    }
    table.cells_.push_back(row.fields);
    table.lines_.push_back(row.line);
  }
  return table;
}

CsvTable read_csv(const std::string& path) { return parse_csv(read_text(path), path); }

std::string csv_field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string quoted = "\"";
  for (char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

}  // namespace farscale
