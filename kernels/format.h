// Numbers for people: SI units, three significant digits, and aligned tables.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace farscale {

std::string format_seconds(double time_s);                   // "1.23 ms"
std::string format_bytes(double bytes);                      // "25.0 MiB" below are powers of 1024: sizes of buffers
std::string format_si(double value, std::string_view unit);  // "989 TFLOP/s", "3.35 TB/s" (powers of 1000)
std::string format_percent(double fraction);                 // "81.3 %"
std::string format_count(double count);                      // "300,000"

// A table with a header row; numbers right-aligned, text left-aligned, columns separated by two spaces.
class TextTable {
 public:
  explicit TextTable(std::vector<std::string> header) : header_(std::move(header)) {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.empty(); }
  std::string str() const;  // ends with a newline

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

// Columns a terminal shows for UTF-8 text (code points; enough for the characters used here).
size_t display_width(std::string_view text);

}  // namespace farscale
