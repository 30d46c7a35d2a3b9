// SI formatting and text tables.
#include "kernels/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>

namespace farscale {
namespace {

// Three significant digits without an exponent: 1.23, 12.3, 123, 1234.
std::string three_digits(double value) {
  const double size = std::abs(value);
  if (size >= 99.95 || size == 0) return fmt::format("{:.0f}", value);
  return size >= 9.995 ? fmt::format("{:.1f}", value) : fmt::format("{:.2f}", value);
}

bool numeric(std::string_view text) {
  return !text.empty() && (std::isdigit(static_cast<unsigned char>(text[0])) || text[0] == '-' || text[0] == '+');
}

std::string aligned(std::string_view text, size_t width, bool right) {
  const std::string blanks(width - std::min(width, display_width(text)), ' ');
  return right ? blanks + std::string(text) : std::string(text) + blanks;
}

}  // namespace

std::string format_si(double value, std::string_view unit) {
  if (!std::isfinite(value)) return fmt::format("{} {}", value, unit);
  constexpr std::array<std::string_view, 13> kPrefix = {"p", "n", "µ", "m", "", "k", "M", "G", "T", "P", "E", "Z", "Y"};
  int index = 4;
  double scaled = value;
  while (std::abs(scaled) >= 999.5 && index < 12) {
    scaled /= 1000;
    ++index;
  }
  while (scaled != 0 && std::abs(scaled) < 0.9995 && index > 0) {
    scaled *= 1000;
    --index;
  }
  return fmt::format("{} {}{}", three_digits(scaled), kPrefix[static_cast<size_t>(index)], unit);
}

std::string format_seconds(double time_s) {
  if (time_s >= 86400 * 2) return three_digits(time_s / 86400) + " d";
  if (time_s >= 7200) return three_digits(time_s / 3600) + " h";
  if (time_s >= 120) return three_digits(time_s / 60) + " min";
  return format_si(time_s, "s");
}

std::string format_bytes(double bytes) {
  constexpr std::array<std::string_view, 7> kUnit = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t index = 0;
  while (std::abs(bytes) >= 1024 && index + 1 < kUnit.size()) {
    bytes /= 1024;
    ++index;
  }
  const bool whole = bytes == std::floor(bytes);
  return fmt::format("{} {}", whole ? fmt::format("{:.0f}", bytes) : three_digits(bytes), kUnit[index]);
}

std::string format_percent(double fraction) { return fmt::format("{:.1f} %", fraction * 100); }

std::string format_count(double count) {
  std::string digits = fmt::format("{:.0f}", std::abs(count));
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(static_cast<size_t>(at), 1, ',');
  return count < 0 ? "-" + digits : digits;
}

size_t display_width(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;  // not a UTF-8 continuation byte
  }));
}

std::string TextTable::str() const {
  std::vector<size_t> width(header_.size());
  std::vector<bool> right(header_.size(), true);
  for (size_t c = 0; c < header_.size(); ++c) {
    width[c] = display_width(header_[c]);
    for (const auto& row : rows_) {
      if (c >= row.size()) continue;
      width[c] = std::max(width[c], display_width(row[c]));
      if (!row[c].empty() && row[c] != "-" && !numeric(row[c])) right[c] = false;
    }
  }
  std::string out;
  auto add_line = [&](const std::vector<std::string>& row) {
    std::string line;
    for (size_t c = 0; c < header_.size(); ++c) {
      line += aligned(c < row.size() ? row[c] : "", width[c], right[c]) + "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  };
  add_line(header_);
  for (const auto& row : rows_) add_line(row);
  return out;
}

}  // namespace farscale
