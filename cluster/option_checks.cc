// Checks of option values that the parser's own let pass.
#include "cluster/option_checks.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdint>

namespace farscale {

CLI::Validator number_within(double low, double high) {
  const std::string range = fmt::format("{:.6g} to {:.6g}", low, high);
  return CLI::Validator(
      [low, high, range](const std::string& text) {
        double value = 0;
        const bool inside = CLI::detail::lexical_cast(text, value) && value >= low && value <= high;
        return inside ? std::string() : fmt::format("expected a number from {}, not '{}'", range, text);
      },
      "NUMBER from " + range);
}

CLI::Validator unsigned_number() {
  return CLI::Validator(
      [](const std::string& text) {
        uint64_t value = 0;
        const char* const last = text.data() + text.size();
        const auto [end, error] = std::from_chars(text.data(), last, value);
        const bool whole = error == std::errc() && end == last;
        return whole ? std::string() : fmt::format("expected a whole number from 0 to {}, not '{}'", UINT64_MAX, text);
      },
      "NUMBER");
}

}  // namespace farscale
