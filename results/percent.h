// Shares on the command line: "2%", "2 %" and "0.02" are the same.
#pragma once

#include <string>
#include <string_view>

#include "kernels/strict_toml.h"

namespace farscale {

// Throws InputError naming the flag when it is no number, or outside `range` (of the share: 0.02).
double parse_percent(std::string_view flag, const std::string& text, Range range);

}  // namespace farscale
