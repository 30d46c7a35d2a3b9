// Reading what Linux says of itself in /proc and /sys: small files of one value.
#pragma once

#include <string>
#include <vector>

namespace farscale {

// The first line of a file, "" where there is none.
std::string first_line(const std::string& path);

// "2-4,7" -> 2 3 4 7. Malformed text gives what could be read.
std::vector<int> parse_cpu_list(const std::string& text);

// Bytes of a cache's size: "32768K", "1M", "512".
double parse_cache_size(const std::string& text);

}  // namespace farscale
