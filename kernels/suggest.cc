// Edit distance and suggestion sentences.
#include "kernels/suggest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

namespace farscale {
namespace {

char lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

}  // namespace

int edit_distance(std::string_view a, std::string_view b) {
  const size_t rows = a.size() + 1, columns = b.size() + 1;
  std::vector<int> cost(rows * columns);
  auto at = [&](size_t i, size_t j) -> int& { return cost[i * columns + j]; };
  for (size_t i = 0; i < rows; ++i) at(i, 0) = static_cast<int>(i);
  for (size_t j = 0; j < columns; ++j) at(0, j) = static_cast<int>(j);
  for (size_t i = 1; i < rows; ++i) {
    for (size_t j = 1; j < columns; ++j) {
      const int replace = lower(a[i - 1]) == lower(b[j - 1]) ? 0 : 1;
      at(i, j) = std::min({at(i - 1, j) + 1, at(i, j - 1) + 1, at(i - 1, j - 1) + replace});
      const bool swapped = i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]);
      if (swapped) at(i, j) = std::min(at(i, j), at(i - 2, j - 2) + 1);
    }
  }
  return at(rows - 1, columns - 1);
}

std::string nearest_name(std::string_view name, std::span<const std::string> candidates) {
  std::string best;
  int best_distance = static_cast<int>(name.size()) / 2 + 1;
  for (const std::string& candidate : candidates) {
    // A prefix of a longer name ("xai-300k" for "xai-300k-b200") is meant, whatever its length.
    const bool prefix = name.size() >= 3 && candidate.starts_with(name);
    const int distance = prefix ? 1 : edit_distance(name, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string unknown_name(std::string_view what, std::string_view name, std::span<const std::string> candidates) {
  std::string message = fmt::format("unknown {} '{}'", what, name);
  if (const std::string nearest = nearest_name(name, candidates); !nearest.empty()) {
    message += fmt::format(": did you mean '{}'?", nearest);
  }
  constexpr size_t kListed = 12;
  const auto listed = candidates.first(std::min(candidates.size(), kListed));
  return message + fmt::format(" (known: {}{})", fmt::join(listed, ", "), candidates.size() > kListed ? ", …" : "");
}

}  // namespace farscale
