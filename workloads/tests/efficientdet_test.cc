// EfficientDet D0 to D6 written as a file: holds BiFPN, separable heads and shared levels to published parameters
// (efficientdet-pytorch's README). Scaling as in Tan et al., arXiv:1911.09070, table 1; EfficientNet arXiv:1905.11946.
#include <gtest/gtest.h>

#include <cmath>

#include "workloads/tests/text.h"

namespace farscale {
namespace {

struct Scale {
  const char* name;
  double width, depth;
  int channels, cells, repeats;
  double published;  // to three digits
  double counted;    // to four
};

int64_t rounded(double filters) {
  const auto near = std::max<int64_t>(8, static_cast<int64_t>(filters + 4) / 8 * 8);
  return double(near) < 0.9 * filters ? near + 8 : near;
}

std::string conv(int64_t out, int kernel, int stride) {
  return fmt::format(
      "{{ op = \"conv\", out = {}, kernel = {}, stride = {}, norm = \"batch\", activation = \"silu\" }}, ", out, kernel,
      stride);
}

// Inverted bottleneck with squeeze-excitation of a quarter of the block's input.
std::string block(const std::string& id, int64_t in, int64_t out, int expand, int kernel, int stride) {
  std::string layers = expand > 1 ? conv(in * expand, 1, 1) : "";
  layers += fmt::format(
      "{{ id = \"dw\", op = \"depthwise\", kernel = {}, stride = {}, norm = \"batch\", activation = \"silu\" }}, "
      "{{ op = \"pool\", kind = \"global\" }}, {{ op = \"linear\", out = {}, activation = \"silu\" }}, "
      "{{ id = \"gate\", op = \"linear\", out = {}, activation = \"sigmoid\" }}, "
      "{{ op = \"elementwise\", kind = \"scale\", from = [\"dw\", \"gate\"] }}, "
      "{{ op = \"conv\", out = {}, norm = \"batch\" }}",
      kernel, stride, in / 4, in * expand, out);
  return fmt::format("[[layer]]\nid = \"{}\"\nop = \"sequence\"\nlayers = [{}]\n", id, layers);
}

std::string backbone(const Scale& scale) {
  struct Stage {
    int expand, out, repeats, kernel, stride;
  };
  constexpr Stage kStages[] = {{1, 16, 1, 3, 1},  {6, 24, 2, 3, 2},  {6, 40, 2, 5, 2}, {6, 80, 3, 3, 2},
                               {6, 112, 3, 5, 1}, {6, 192, 4, 5, 2}, {6, 320, 1, 3, 1}};
  int64_t in = rounded(32 * scale.width);
  std::string text = fmt::format("[[layer]]\nid = \"stem\"\nop = \"sequence\"\nlayers = [{}]\n", conv(in, 3, 2));
  for (size_t s = 0; s < std::size(kStages); ++s) {
    const Stage& stage = kStages[s];
    const int64_t out = rounded(stage.out * scale.width);
    const int repeats = static_cast<int>(std::ceil(stage.repeats * scale.depth));
    for (int i = 0; i < repeats; ++i) {
      const std::string id = i + 1 == repeats ? fmt::format("stage{}", s + 1) : fmt::format("stage{}_{}", s + 1, i);
      text += block(id, i == 0 ? in : out, out, stage.expand, stage.kernel, i == 0 ? stage.stride : 1);
    }
    in = out;
  }
  return text;
}

std::string head(const char* id, const Scale& scale, int out) {
  return fmt::format(
      "[[layer]]\nid = \"{}\"\nop = \"per_level\"\nfrom = [\"neck.p3\", \"neck.p4\", \"neck.p5\", \"neck.p6\", "
      "\"neck.p7\"]\n"
      "layers = [{{ op = \"separable\", out = {}, bias = true, norm = \"batch\", activation = \"silu\", repeat = {} "
      "}}, "
      "{{ op = \"separable\", out = {} }}]\n",
      id, scale.channels, scale.repeats, out);
}

TEST(EfficientDet, ParametersOfTheFamily) {
  const Scale scales[] = {
      {"D0", 1.0, 1.0, 64, 3, 3, 3.88e6, 3.878e6},  {"D1", 1.0, 1.1, 88, 4, 3, 6.62e6, 6.622e6},
      {"D2", 1.1, 1.2, 112, 5, 3, 8.10e6, 8.091e6}, {"D3", 1.2, 1.4, 160, 6, 4, 12.0e6, 12.02e6},
      {"D4", 1.4, 1.8, 224, 7, 4, 20.7e6, 20.71e6}, {"D5", 1.6, 2.2, 288, 7, 4, 33.7e6, 33.63e6},
      {"D6", 1.8, 2.6, 384, 8, 5, 51.9e6, 51.84e6},
  };
  for (const Scale& scale : scales) {
    const Workload detector = vision(
        backbone(scale) +
            fmt::format(
                "[[layer]]\nid = \"neck\"\nop = \"bifpn\"\nfrom = [\"stage3\", \"stage5\", \"stage7\"]\nlevels = 5\n"
                "channels = {}\ncells = {}\n",
                scale.channels, scale.cells) +
            head("classes", scale, 810) + head("boxes", scale, 36),
        512);
    const double parameters = double(detector.parameters()),
                 digit = std::pow(10, std::floor(std::log10(parameters)) - 3);
    EXPECT_NEAR(parameters, scale.counted, digit) << scale.name;
    // 0.2 %, and half of the last published digit.
    EXPECT_NEAR(parameters, scale.published, 0.002 * parameters + 5 * digit) << scale.name << " " << parameters;
  }
}

}  // namespace
}  // namespace farscale
