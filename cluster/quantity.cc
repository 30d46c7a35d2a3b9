// Names of evidence, draws from a quantity, and reading quantities from strict TOML.
#include "cluster/quantity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cluster/random.h"
#include "cluster/source.h"

namespace farscale {
namespace {

constexpr double kZ95 = 1.6448536269514722;  // normal quantile of 0.95

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
  return text;
}

TomlTable quantity_table(const TomlTable& table, std::string_view key) {
  const std::string_view shape = table.shape(key);
  if (shape != "table" && !shape.empty()) {
    table.fail(key, fmt::format("expected a quantity with its evidence, {{ value = …, source = \"…\" }}, not a {}: no "
                                "figure stands here without saying where it is from",
                                shape));
  }
  return table.table(key);
}

}  // namespace

std::string_view name(Evidence evidence) {
  switch (evidence) {
    case Evidence::kMeasured:
      return "measured";
    case Evidence::kPublished:
      return "published";
    case Evidence::kDataSheet:
      return "data sheet";
    case Evidence::kAssumed:
      return "assumed";
  }
  return "assumed";
}

char letter(Evidence evidence) {
  constexpr std::string_view kLetters = "MPDA";
  return kLetters[size_t(evidence)];
}

Evidence weakest(Evidence a, Evidence b) { return std::max(a, b); }

Evidence evidence_of(const std::string& source, bool has_range) {
  const std::string text = lower(source);
  const auto begins = [&text](const std::vector<std::string_view>& words) {
    return std::any_of(words.begin(), words.end(), [&](std::string_view word) { return text.rfind(word, 0) == 0; });
  };
  if (begins({"assum", "guess", "estimate"})) return Evidence::kAssumed;
  if (has_range && text.find("range assumed") != std::string::npos) return Evidence::kAssumed;
  if (begins({"data sheet"})) return Evidence::kDataSheet;
  return begins({"measured"}) ? Evidence::kMeasured : Evidence::kPublished;
}

std::string read_source(const TomlTable& table) {
  std::string source = table.text("source");
  if (source.find_first_not_of(" \t\n") == std::string::npos)
    table.fail("source", "is empty: say where the figure is from (a URL, \"data sheet: …\", \"assumption: …\")");
  return source;
}

double Quantity::at(double u) const {
  const auto [low, middle, high] = value;
  if (low == middle && middle == high) return middle;
  const double z = normal_quantile(u) / kZ95;  // -1 at 5 %, 0 at 50 %, 1 at 95 %
  if (low > 0) return middle * std::exp(z < 0 ? z * std::log(middle / low) : z * std::log(high / middle));
  return middle + (z < 0 ? z * (middle - low) : z * (high - middle));
}

Quantity read_quantity(const TomlTable& table, std::string_view key, Range range) {
  const TomlTable inner = quantity_table(table, key);
  if (!inner.has("source")) {
    table.fail(key, "has no source: say where the figure is from (a URL, \"data sheet: …\", \"assumption: …\")");
  }
  Quantity quantity;
  quantity.source = read_source(inner);
  const double middle = inner.number("value", range);
  quantity.value = {inner.number("low", range, middle), middle, inner.number("high", range, middle)};
  if (quantity.value.p05 > middle || quantity.value.p95 < middle) {
    table.fail(key, "expected low <= value <= high (5th, 50th and 95th percentile)");
  }
  quantity.evidence = evidence_of(quantity.source, quantity.value.p05 != quantity.value.p95);
  return quantity;
}

Quantity read_quantity(const TomlTable& table, std::string_view key, Range range, const Quantity& fallback) {
  return table.has(key) ? read_quantity(table, key, range) : fallback;
}

}  // namespace farscale
