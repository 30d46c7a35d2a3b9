// Edit distance and suggestion sentences.
#include "kernels/suggest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <vector>

namespace farscale {
namespace {

char lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

// A prefix of a longer name ("xai-300k" for "xai-300k-b200") is meant, whatever its length.
bool prefix_of(std::string_view name, const std::string& candidate) {
  return name.size() >= 3 && candidate.starts_with(name);
}

// The longer names that it may stand for ("h100" for "h100-sxm" and "h100-pcie"), three at most.
std::vector<std::string> longer_names(std::string_view name, std::span<const std::string> candidates) {
  std::vector<std::string> found;
  for (const std::string& candidate : candidates) {
    if (prefix_of(name, candidate) && found.size() < 3) found.push_back(candidate);
  }
  return found;
}

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
    const int distance = prefix_of(name, candidate) ? 1 : edit_distance(name, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string unknown_name(std::string_view what, std::string_view name, std::span<const std::string> candidates) {
  std::string message = fmt::format("unknown {} '{}'", what, name);
  std::vector<std::string> likely = longer_names(name, candidates);
  if (likely.size() < 2) likely = {nearest_name(name, candidates)};
  if (!likely.front().empty()) message += fmt::format(": did you mean '{}'?", fmt::join(likely, "' or '"));
  constexpr size_t kListed = 12;
  const auto listed = candidates.first(std::min(candidates.size(), kListed));
  return message + fmt::format(" (known: {}{})", fmt::join(listed, ", "), candidates.size() > kListed ? ", …" : "");
}

}  // namespace farscale
