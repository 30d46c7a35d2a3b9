// Sums over taps, channels and positions.
#include "kernels/reference_convolution.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace farscale {
namespace {

struct Sum {
  double value = 0;
  double absolute = 0;
  void add(double a, double b) {
    value += a * b;
    absolute += std::abs(a * b);
  }
};

class Convolution {
 public:
  Convolution(const ConvolutionProblem& problem, const ConvolutionArrays& arrays)
      : p_(problem), arrays_(arrays), decode_(decoder(problem.type)) {}

  int64_t entries() const {
    switch (p_.pass) {
      case ConvolutionPass::kForward:
        return p_.images * p_.output_height() * p_.output_width() * p_.filters;
      case ConvolutionPass::kDataGradient:
        return p_.images * p_.height * p_.width * p_.channels;
      case ConvolutionPass::kWeightGradient:
        return p_.filters * p_.kernel * p_.kernel * per_group();
    }
    return 0;
  }

  double stored(int64_t entry) const {
    return p_.pass == ConvolutionPass::kForward        ? at(arrays_.output, entry)
           : p_.pass == ConvolutionPass::kDataGradient ? at(arrays_.input, entry)
                                                       : at(arrays_.filters, entry);
  }

  Sum expected(int64_t entry) const {
    switch (p_.pass) {
      case ConvolutionPass::kForward:
        return forward(entry);
      case ConvolutionPass::kDataGradient:
        return data_gradient(entry);
      case ConvolutionPass::kWeightGradient:
        return weight_gradient(entry);
    }
    return {};
  }

 private:
  int64_t per_group() const { return p_.channels / p_.groups; }
  int64_t filters_per_group() const { return p_.filters / p_.groups; }

  double at(const void* data, int64_t index) const {
    double value = 0;
    decode_(data, index, 1, &value);
    return value;
  }
  double input(int64_t n, int64_t y, int64_t x, int64_t c) const {
    return at(arrays_.input, ((n * p_.height + y) * p_.width + x) * p_.channels + c);
  }
  double output(int64_t n, int64_t y, int64_t x, int64_t f) const {
    return at(arrays_.output, ((n * p_.output_height() + y) * p_.output_width() + x) * p_.filters + f);
  }
  double filter(int64_t f, int64_t r, int64_t s, int64_t c) const {
    return at(arrays_.filters, ((f * p_.kernel + r) * p_.kernel + s) * per_group() + c);
  }
  int64_t source(int64_t out, int64_t tap) const { return out * p_.stride - p_.kernel / 2 + tap; }

  Sum forward(int64_t entry) const {
    const int64_t f = entry % p_.filters, x = entry / p_.filters % p_.output_width();
    const int64_t y = entry / p_.filters / p_.output_width() % p_.output_height();
    const int64_t n = entry / p_.filters / p_.output_width() / p_.output_height();
    const int64_t first = f / filters_per_group() * per_group();
    Sum sum;
    for (int64_t r = 0; r < p_.kernel; ++r) {
      for (int64_t s = 0; s < p_.kernel; ++s) {
        const int64_t iy = source(y, r), ix = source(x, s);
        if (iy < 0 || iy >= p_.height || ix < 0 || ix >= p_.width) continue;
        for (int64_t c = 0; c < per_group(); ++c) sum.add(input(n, iy, ix, first + c), filter(f, r, s, c));
      }
    }
    return sum;
  }

  Sum data_gradient(int64_t entry) const {
    const int64_t c = entry % p_.channels, x = entry / p_.channels % p_.width;
    const int64_t y = entry / p_.channels / p_.width % p_.height, n = entry / p_.channels / p_.width / p_.height;
    const int64_t group = c / per_group(), first = group * filters_per_group();
    Sum sum;
    for (int64_t r = 0; r < p_.kernel; ++r) {
      for (int64_t s = 0; s < p_.kernel; ++s) {
        const int64_t sy = y + p_.kernel / 2 - r, sx = x + p_.kernel / 2 - s;
        if (sy < 0 || sx < 0 || sy % p_.stride != 0 || sx % p_.stride != 0) continue;
        const int64_t oy = sy / p_.stride, ox = sx / p_.stride;
        if (oy >= p_.output_height() || ox >= p_.output_width()) continue;
        for (int64_t f = first; f < first + filters_per_group(); ++f) {
          sum.add(output(n, oy, ox, f), filter(f, r, s, c - group * per_group()));
        }
      }
    }
    return sum;
  }

  Sum weight_gradient(int64_t entry) const {
    const int64_t c = entry % per_group(), s = entry / per_group() % p_.kernel;
    const int64_t r = entry / per_group() / p_.kernel % p_.kernel, f = entry / per_group() / p_.kernel / p_.kernel;
    const int64_t channel = f / filters_per_group() * per_group() + c;
    Sum sum;
    for (int64_t n = 0; n < p_.images; ++n) {
      for (int64_t y = 0; y < p_.output_height(); ++y) {
        const int64_t iy = source(y, r);
        for (int64_t x = 0; iy >= 0 && iy < p_.height && x < p_.output_width(); ++x) {
          const int64_t ix = source(x, s);
          if (ix >= 0 && ix < p_.width) sum.add(output(n, y, x, f), input(n, iy, ix, channel));
        }
      }
    }
    return sum;
  }

  const ConvolutionProblem& p_;
  ConvolutionArrays arrays_;
  Decode decode_;
};

}  // namespace

int64_t convolution_terms(const ConvolutionProblem& p) {
  const int64_t taps = p.kernel * p.kernel;
  switch (p.pass) {
    case ConvolutionPass::kForward:
      return taps * p.channels / p.groups;
    case ConvolutionPass::kDataGradient:
      return taps * p.filters / p.groups;
    case ConvolutionPass::kWeightGradient:
      return p.images * p.output_height() * p.output_width();
  }
  return taps;
}

Verdict check_convolution(const ConvolutionProblem& problem, const ConvolutionArrays& arrays,
                          const GemmRounding& rounding, uint64_t seed) {
  constexpr int64_t kProducts = int64_t{1} << 22;
  constexpr int64_t kLeast = 16;
  const Convolution convolution(problem, arrays);
  const int64_t entries = convolution.entries(), terms = convolution_terms(problem);
  const int64_t looked_at = std::min(entries, std::max(kLeast, kProducts / terms));
  const double factor = dot_error_factor(rounding, terms);
  Verdict verdict{.correct = true, .worst_error = 0, .bound = 1, .detail = ""};
  for (int64_t i = 0; i < looked_at; ++i) {
    const int64_t entry =
        looked_at == entries ? i : static_cast<int64_t>(mixed(seed, static_cast<uint64_t>(i)) % uint64_t(entries));
    const Sum sum = convolution.expected(entry);
    const double found = convolution.stored(entry);
    const double allowed = factor * sum.absolute + rounding.output * std::abs(sum.value);
    const double error = std::abs(found - sum.value);
    const double share = error <= allowed ? (allowed > 0 ? error / allowed : 0) : std::max(2.0, error / allowed);
    if (share <= verdict.worst_error) continue;
    verdict.worst_error = std::isfinite(share) ? share : 1e300;
    if (share > 1) {
      verdict.correct = false;
      verdict.detail = fmt::format("entry {} is {:.9g}, expected {:.9g} +- {:.3g}", entry, found, sum.value, allowed);
    }
  }
  if (verdict.correct) {
    verdict.detail = fmt::format("compared with fp64 sums, {} of {} entries", looked_at, entries);
  }
  return verdict;
}

}  // namespace farscale
