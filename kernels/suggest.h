// Nearest valid name for a misspelt one, and the one sentence every "unknown name" error uses.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace farscale {

// Optimal string alignment distance (insert, delete, replace, swap neighbours), case-insensitive.
int edit_distance(std::string_view a, std::string_view b);

// The nearest candidate, or "" when none is close enough to be meant (over half of the name differs).
std::string nearest_name(std::string_view name, std::span<const std::string> candidates);

// "unknown workload 'resnet5O': did you mean 'resnet50'? known: a, b, c" (the list is cut after 12 names).
std::string unknown_name(std::string_view what, std::string_view name, std::span<const std::string> candidates);

}  // namespace farscale
