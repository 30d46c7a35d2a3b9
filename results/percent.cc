// Percentages.
#include "results/percent.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "kernels/error.h"

namespace farscale {

double parse_percent(std::string_view flag, const std::string& text, Range range) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  const std::string_view rest(stopped, static_cast<size_t>(end - stopped));
  const bool percent = rest == "%" || rest == " %";
  if (percent) value /= 100;
  const bool good = error == std::errc{} && (rest.empty() || percent) && std::isfinite(value);
  if (!good || value < range.least || value > range.most) {
    throw InputError(fmt::format("{}: expected a share like 2% or 0.02, from {} to {}, found '{}'", flag, range.least,
                                 range.most, text));
  }
  return value;
}

}  // namespace farscale
