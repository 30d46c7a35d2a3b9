// Seeded stratified draws, the same on every machine and in every thread: no standard library distribution is used.
#include "cluster/plan_draws.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cluster/random.h"

namespace farscale {
namespace {

// In [0, bound): the high half of a product; its bias is below 2^-12 for counts up to a million.
uint64_t below(Rng& random, uint64_t bound) { return ((random.next() >> 32) * bound) >> 32; }

uint64_t hash(std::string_view text) {  // FNV-1a
  uint64_t h = 0xcbf29ce484222325ULL;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return h;
}

// Type 7 quantile of values of which only the two neighbours are put in order.
double quantile_in_place(std::vector<double>& values, double q) {
  const double place = q * double(values.size() - 1);
  const auto lower = static_cast<std::ptrdiff_t>(place);
  const auto at = values.begin() + lower;
  std::nth_element(values.begin(), at, values.end());
  if (at + 1 == values.end()) return *at;
  const double next = *std::min_element(at + 1, values.end());
  return next == *at ? next : *at + (place - double(lower)) * (next - *at);  // both may be infinite
}

}  // namespace

std::vector<double> uniform_draws(uint64_t seed, std::string_view name, int count) {
  Rng random(hash(name) ^ (seed * 0xd6e8feb86659fd93ULL));
  std::vector<double> draws(static_cast<size_t>(std::max(count, 0)));
  std::iota(draws.begin(), draws.end(), 0.5);
  for (size_t i = draws.size(); i > 1; --i) std::swap(draws[i - 1], draws[below(random, i)]);
  for (double& u : draws) u /= double(count);
  return draws;
}

std::vector<double> quantity_draws(const Quantity& quantity, uint64_t seed, std::string_view name, int count) {
  const Estimate& value = quantity.value;
  if (value.p05 == value.p95) return std::vector<double>(static_cast<size_t>(std::max(count, 0)), value.p50);
  std::vector<double> draws = uniform_draws(seed, name, count);
  for (double& u : draws) u = quantity.at(u);
  return draws;
}

std::vector<double> column_values(const Quantity& quantity, uint64_t seed, std::string_view name, int count) {
  std::vector<double> values = quantity_draws(quantity, seed, name, count);
  values.insert(values.begin(), quantity.value.p50);
  return values;
}

Estimate percentiles(std::vector<double>& draws) {
  if (draws.empty()) return {};
  return {quantile_in_place(draws, 0.05), quantile_in_place(draws, 0.50), quantile_in_place(draws, 0.95)};
}

}  // namespace farscale
