// Strict reading of CSV tables with a header row: published measurements and people's own. Every error names the file
// and the line, and the column where there is one.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace farscale {

// A table in memory. Rows count from 0 and do not include the header; columns go by their name in the header.
class CsvTable {
 public:
  size_t rows() const { return lines_.size(); }
  const std::vector<std::string>& columns() const { return columns_; }
  bool has(std::string_view column) const;

  // The cell as it stands (quotes removed). Throws InputError for a column the table does not have, with the nearest.
  const std::string& text(size_t row, std::string_view column) const;
  // The same, or `fallback` when the table has no such column (for columns that are optional).
  std::string text_or(size_t row, std::string_view column, std::string_view fallback) const;

  // The cell as a number, absent when the cell is empty. Throws InputError when it is not a finite number or lies
  // outside [least, most].
  std::optional<double> maybe_number(size_t row, std::string_view column,
                                     double least = -std::numeric_limits<double>::infinity(),
                                     double most = std::numeric_limits<double>::infinity()) const;
  // The same; an empty cell is an InputError too.
  double number(size_t row, std::string_view column, double least = -std::numeric_limits<double>::infinity(),
                double most = std::numeric_limits<double>::infinity()) const;
  int64_t integer(size_t row, std::string_view column, int64_t least = std::numeric_limits<int64_t>::min(),
                  int64_t most = std::numeric_limits<int64_t>::max()) const;

  // Throws InputError unless every column of `required` is there; columns in neither list are refused when `optional`
  // is given, with the nearest name (a misspelt column would otherwise be left out silently).
  void expect_columns(const std::vector<std::string>& required) const;
  void expect_columns(const std::vector<std::string>& required, const std::vector<std::string>& optional) const;

  const std::string& path() const { return path_; }
  std::string where(size_t row) const;  // "vision.csv:12"
  [[noreturn]] void fail(size_t row, std::string_view column, std::string_view message) const;

  friend CsvTable parse_csv(std::string_view text, const std::string& path);

 private:
  size_t index_of(std::string_view column) const;

  std::string path_;
  std::vector<std::string> columns_;
  std::vector<std::vector<std::string>> cells_;  // [row][column]
  std::vector<int> lines_;                       // where each row begins in the file
};

// RFC 4180: comma separated, fields in double quotes may hold commas, line breaks and doubled quotes; LF or CRLF; an
// UTF-8 byte order mark is skipped; blank lines are skipped. Every row has as many fields as the header.
CsvTable parse_csv(std::string_view text, const std::string& path);
CsvTable read_csv(const std::string& path);

// The field, in quotes when it needs them: for writing.
std::string csv_field(std::string_view text);

}  // namespace farscale
