// Ranges, money and dates in words.
#include "cluster/plan_numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "kernels/format.h"

namespace farscale {
namespace {

struct Scale {
  double factor;
  const char* prefix;
};

Scale scale_of(double value) {
  for (const Scale& scale :
       {Scale{1e18, "E"}, Scale{1e15, "P"}, Scale{1e12, "T"}, Scale{1e9, "G"}, Scale{1e6, "M"}, Scale{1e3, "k"}})
    if (std::abs(value) >= 0.9995 * scale.factor) return scale;
  return {1, ""};
}

bool is_point(const Estimate& value) { return value.p05 == value.p95; }

}  // namespace

std::string digits(double value) {
  const double size = std::abs(value);
  if (size < 0.00995 && size >= 1e-9) return fmt::format("{:.{}f}", value, 2 - int(std::floor(std::log10(size))));
  if (size >= 999.5) return format_count(value);
  if (size >= 99.95 || size == 0) return fmt::format("{:.0f}", value);
  return size >= 9.995 ? fmt::format("{:.1f}", value) : fmt::format("{:.2f}", value);
}

// "3.41 M (2.90–4.10)"; "to" where a minus would meet the dash; the unit after the range when the middle is 0.
std::string range_of(const Estimate& value, double factor, const std::string& unit) {
  const std::string space = unit.empty() ? "" : " " + unit;
  if (is_point(value)) return digits(value.p50 / factor) + space;
  const std::string range = fmt::format("{}{}{}", digits(value.p05 / factor),
                                        value.p05 < 0 || value.p95 < 0 ? " to " : "–", digits(value.p95 / factor));
  if (value.p50 == 0) return fmt::format("0 ({}{})", range, space);
  return fmt::format("{}{} ({})", digits(value.p50 / factor), space, range);
}

std::string count_range(const Estimate& value) {
  if (is_point(value)) return format_count(value.p50);
  return fmt::format("{} ({}–{})", format_count(value.p50), format_count(value.p05), format_count(value.p95));
}

std::string about_count(double count) {
  const double unit = std::pow(10.0, std::floor(std::log10(std::max(count, 1.0))) - 1);
  return format_count(std::round(count / unit) * unit);
}

std::string about_range(const Estimate& count) {
  if (is_point(count)) return about_count(count.p50);
  return fmt::format("{} ({}–{})", about_count(count.p50), about_count(count.p05), about_count(count.p95));
}

std::string plural(int64_t count, const std::string& what) {
  return fmt::format("{} {}{}", format_count(double(count)), what, count == 1 ? "" : "s");
}

std::string si_range(const Estimate& value, const std::string& unit) {
  const Scale scale = scale_of(value.p50 != 0 ? value.p50 : value.p95);
  return range_of(value, scale.factor, scale.prefix + unit);
}

std::string usd_range(const Estimate& value) {
  if (std::abs(value.p50) >= 0.9995e9) return range_of(value, 1e9, "billion USD");
  if (std::abs(value.p50) >= 0.9995e6) return range_of(value, 1e6, "million USD");
  return std::abs(value.p50) >= 0.9995e4 ? range_of(value, 1e3, "thousand USD") : range_of(value, 1, "USD");
}

std::string wrapped(const std::string& text, const std::string& indent) {
  constexpr size_t kColumns = 120;
  std::string result;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    size_t column = 0;
    for (std::string word; words >> word;) {
      const size_t width = display_width(word);
      if (column == 0) {
        column = line.find_first_not_of(' ');  // its own indent stays
        result.append(column, ' ');
      } else if (column + 1 + width > kColumns) {
        result += "\n" + indent;
        column = indent.size();
      } else {
        result += " ";
        ++column;
      }
      result += word;
      column += width;
    }
    result += "\n";
  }
  return result;
}

bool is_rented(const Plan& plan) {
  return std::all_of(plan.sites.begin(), plan.sites.end(), [](const Site& site) { return site.rented; });
}

std::string percent_range(const Estimate& value) { return range_of(value, 0.01, "%"); }

std::string time_range(const Estimate& value_s) {
  if (value_s.p50 >= 172800) return range_of(value_s, 86400, "d");
  if (value_s.p50 >= 7200) return range_of(value_s, 3600, "h");
  if (value_s.p50 >= 120) return range_of(value_s, 60, "min");
  return value_s.p50 >= 1 || value_s.p50 == 0 ? range_of(value_s, 1, "s") : range_of(value_s, 1e-3, "ms");
}

std::string date_range(const Plan& plan, const Estimate& days) {
  const auto text = [&plan](double day) {
    if (day >= plan.days()) return "not by " + iso_date(plan.end);
    return iso_date(plan.start + std::chrono::days(int(day)));
  };
  if (text(days.p05) == text(days.p95)) return text(days.p50);
  return fmt::format("{} ({} to {})", text(days.p50), text(days.p05), text(days.p95));
}

}  // namespace farscale
