// The reference of convolutions: plain sums, entry by entry.
#pragma once

#include <cstdint>

#include "kernels/reference.h"

namespace farscale {

// Arrays of a convolution, channels last: input images x height x width x channels, filters filters x kernel x kernel x
// channels / groups, output images x output height x output width x filters. Two of them are read, the pass says which
// is written: forward the output, data gradient the input's place, weight gradient the filters'.
struct ConvolutionArrays {
  const void* input = nullptr;
  const void* filters = nullptr;
  const void* output = nullptr;
};

// Products in one entry of the result, at most: entries at the border have fewer.
int64_t convolution_terms(const ConvolutionProblem& problem);

// Up to 2^22 products: every entry. Above: random entries of as many products together, 16 at least. Errors are in
// units of what is allowed, dot_error_factor() sum |a b| + output roundoff |result|, so the bound is 1. Inputs and
// result are elements of problem.type.
Verdict check_convolution(const ConvolutionProblem& problem, const ConvolutionArrays& arrays,
                          const GemmRounding& rounding, uint64_t seed);

}  // namespace farscale
