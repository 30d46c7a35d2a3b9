// One value at a time out of /proc and /sys.
#include "kernels/sysfs.h"

#include <fstream>
#include <sstream>

namespace farscale {

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::vector<int> parse_cpu_list(const std::string& text) {
  std::vector<int> cpus;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    std::istringstream ends(part);
    int first = 0, last = 0;
    char dash = 0;
    if (!(ends >> first)) continue;
    last = first;
    if (ends >> dash) ends >> last;
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

double parse_cache_size(const std::string& text) {
  const double unit = text.ends_with('K') ? 1024 : (text.ends_with('M') ? 1024.0 * 1024 : 1);
  std::istringstream stream(text);
  double value = 0;
  return stream >> value ? value * unit : 0;
}

}  // namespace farscale
