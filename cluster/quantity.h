// Quantities with their evidence: nothing in this house is a bare number. A quantity is a 5/50/95 range, where it comes
// from and what says so; estimates computed from quantities carry the weakest evidence that went into them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/strict_toml.h"

namespace farscale {

// Strongest first; the order is used to find the weakest.
enum class Evidence : uint8_t { kMeasured, kPublished, kDataSheet, kAssumed };

std::string_view name(Evidence evidence);  // "measured", "published", "data sheet", "assumed"
char letter(Evidence evidence);            // 'M', 'P', 'D', 'A'
Evidence weakest(Evidence a, Evidence b);

// What an estimate says: the 5th, 50th and 95th percentile.
struct Estimate {
  double p05 = 0;
  double p50 = 0;
  double p95 = 0;
};

struct Quantity {
  Estimate value;
  Evidence evidence = Evidence::kAssumed;
  std::string source;  // a URL, a document, a record id, or why it is assumed

  // A draw for u in (0, 1): piecewise through the three percentiles, lognormal beyond them for positive values.
  double at(double u) const;
};

// Reads a quantity: { value = 80e9, source = "..." } or { low = 1, value = 2, high = 3, source = "assumption: ..." }.
// `source` beginning with "assumption" is assumed, "data sheet" a data sheet, "measured" measured; anything else is
// published. A missing source is an InputError that says so.
Quantity read_quantity(const TomlTable& table, std::string_view key, Range range);
// The same, or the fallback when the key is missing.
Quantity read_quantity(const TomlTable& table, std::string_view key, Range range, const Quantity& fallback);

// One line of the evidence list that predict and plan print: what, how good, and where from.
struct EvidenceLine {
  std::string what;
  Evidence evidence = Evidence::kAssumed;
  std::string source;
};

}  // namespace farscale
