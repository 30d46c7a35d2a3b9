// The slowest link of a ring, and a fitted collective on it.
#include "cluster/ring_network.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>
#include <vector>

#include "cluster/collective_model.h"
#include "kernels/error.h"
#include "kernels/suggest.h"

namespace farscale {
namespace {

constexpr double kTo95th = 1.645;  // standard deviations

double number_of(const std::string& word, double least, double most) {
  const std::string text = word.substr(word.find('=') + 1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value >= least && value <= most)) {
    throw InputError(fmt::format("network '{}': expected a number from {:g} to {:g}", word, least, most));
  }
  return value;
}

bool interleaved_of(const std::string& word) {
  if (word == "order=interleaved") return true;
  if (word == "order=contiguous") return false;
  throw InputError(fmt::format("network '{}': expected order=contiguous or order=interleaved", word));
}

void set(RingNetwork& network, const std::string& word) {
  static const std::vector<std::string> kKeys = {"per_leaf", "oversubscription", "order", "slowest"};
  const std::string key = word.substr(0, word.find('='));
  if (key == "per_leaf") {
    network.per_leaf = std::llround(number_of(word, 1, 1e6));
  } else if (key == "oversubscription") {
    network.oversubscription = number_of(word, 0.01, 1e4);
  } else if (key == "order") {
    network.interleaved = interleaved_of(word);
  } else if (key == "slowest") {
    network.slowest = number_of(word, 1e-4, 1);
  } else {
    throw InputError("network: " + unknown_name("key", key, kKeys));
  }
}

}  // namespace

RingNetwork parse_ring_network(const std::string& text) {
  RingNetwork network;
  std::istringstream words(text);
  for (std::string word; words >> word;) set(network, word);
  return network;
}

double ring_slowdown(const RingNetwork& network, int64_t ranks) {
  const double host = 1 / network.slowest;
  if (network.per_leaf == 0 || ranks <= network.per_leaf) return host;
  const double crossing = network.interleaved ? double(network.per_leaf) : 1;
  return std::max(host, crossing * network.oversubscription / double(network.per_leaf));
}

Estimate ring_time(const CollectiveFit& fit, CollectiveKind kind, int64_t ranks, double bytes,
                   const RingNetwork& network) {
  const double latency_s = fitted_time(fit, kind, ranks, 0);
  const double wire_s = fitted_time(fit, kind, ranks, bytes) - latency_s;
  const double time_s = latency_s + ring_slowdown(network, ranks) * wire_s;
  const double doublings = std::max(0.0, std::log2(double(ranks) / double(std::max<int64_t>(1, fit.most_ranks))));
  const double spread = std::hypot(fit.log_sigma, fit.relative_error, kSpreadPerDoubling * doublings);
  const double reach = std::exp(kTo95th * spread);
  return {.p05 = time_s / reach, .p50 = time_s, .p95 = time_s * reach};
}

}  // namespace farscale
