// The table of number types.
#include "kernels/number_type.h"

#include "kernels/error.h"
#include "kernels/suggest.h"

namespace farscale {
namespace {

struct Row {
  NumberType type;
  std::string_view name;
  double bytes;
};

constexpr std::array<Row, kNumberTypes.size()> kRows = {{
    {NumberType::kFp64, "fp64", 8},
    {NumberType::kFp32, "fp32", 4},
    {NumberType::kTf32, "tf32", 4},
    {NumberType::kFp16, "fp16", 2},
    {NumberType::kBf16, "bf16", 2},
    {NumberType::kFp8E4M3, "fp8_e4m3", 1},
    {NumberType::kFp8E5M2, "fp8_e5m2", 1},
    {NumberType::kFp4, "fp4", 0.5},
    {NumberType::kInt8, "int8", 1},
}};

const Row& row(NumberType type) { return kRows[static_cast<size_t>(type)]; }

}  // namespace

std::string_view name(NumberType type) { return row(type).name; }

double bytes_per_element(NumberType type) { return row(type).bytes; }

NumberType parse_number_type(std::string_view text) {
  std::vector<std::string> names;
  for (const Row& r : kRows) {
    if (r.name == text) return r.type;
    names.emplace_back(r.name);
  }
  throw InputError(unknown_name("number type", text, names));
}

}  // namespace farscale
