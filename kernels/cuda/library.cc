// Opening the first library of several names.
#include "kernels/cuda/library.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace farscale::cuda {

Maybe<std::unique_ptr<Library>> Library::open(const std::vector<std::string>& sonames, const std::string& install) {
  std::string reasons;
  for (const std::string& soname : sonames) {
    std::string why_not;
    if (void* handle = Loader::open(soname, why_not)) return std::make_unique<Library>(handle, soname);
    reasons += (reasons.empty() ? "" : "; ") + why_not;
  }
  return Maybe<std::unique_ptr<Library>>::absent(
      fmt::format("{} does not open ({}): {}", fmt::join(sonames, " or "), reasons, install));
}

}  // namespace farscale::cuda
