// A fake cuDNN: descriptors that remember, two algorithms of which the second is the first guess, and convolutions as
// sums over every product, each added where it belongs.
#include <cudnn.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "kernels/cuda/fake/stream.h"
#include "kernels/elements.h"

using farscale::decoder;
using farscale::encode;
using farscale::NumberType;
using farscale::fake::count_alive;
using farscale::fake::enqueue;
using farscale::fake::fails;
using farscale::fake::state;

struct cudnnContext {
  cudaStream_t stream = nullptr;
};

struct cudnnTensorStruct {
  cudnnDataType_t type = CUDNN_DATA_FLOAT;
  int n = 0, c = 0, h = 0, w = 0;
};

struct cudnnFilterStruct {
  cudnnDataType_t type = CUDNN_DATA_FLOAT;
  int k = 0, c = 0, r = 0, s = 0;
};

struct cudnnConvolutionStruct {
  int pad = 0, stride = 1, groups = 1;
};

namespace {

constexpr double kFlops_per_s = 1e13;
constexpr size_t kWorkspace = size_t{1} << 20;

NumberType number_type(cudnnDataType_t type) {
  return type == CUDNN_DATA_HALF       ? NumberType::kFp16
         : type == CUDNN_DATA_BFLOAT16 ? NumberType::kBf16
                                       : NumberType::kFp32;
}

enum class Pass { kForward, kData, kFilter };

struct Convolution {
  cudnnTensorStruct x, y;
  cudnnFilterStruct w;
  cudnnConvolutionStruct c;

  bool fits() const {
    const bool shapes = x.n == y.n && x.c == w.c * c.groups && y.c == w.k && x.type == w.type && x.type == y.type;
    return shapes && (x.h + 2 * c.pad - w.r) / c.stride + 1 == y.h && (x.w + 2 * c.pad - w.s) / c.stride + 1 == y.w;
  }
  size_t inputs() const { return size_t(x.n) * size_t(x.h) * size_t(x.w) * size_t(x.c); }
  size_t filters() const { return size_t(w.k) * size_t(w.r) * size_t(w.s) * size_t(w.c); }
  size_t outputs() const { return size_t(y.n) * size_t(y.h) * size_t(y.w) * size_t(y.c); }
  double flops() const { return 2.0 * double(outputs()) * double(w.r * w.s * w.c); }
};

std::vector<double> decoded(NumberType type, const void* data, size_t count) {
  std::vector<double> values(count);
  decoder(type)(data, 0, int64_t(count), values.data());
  return values;
}

// Calls add(x, w, y) with the places of every product.
template <typename Add>
void each_product(const Convolution& p, const Add& add) {
  const int per_group = p.y.c / p.c.groups;
  for (int n = 0; n < p.y.n; ++n) {
    for (int oy = 0; oy < p.y.h; ++oy) {
      for (int ox = 0; ox < p.y.w; ++ox) {
        for (int f = 0; f < p.y.c; ++f) {
          for (int tap = 0; tap < p.w.r * p.w.s; ++tap) {
            const int r = tap / p.w.s, s = tap % p.w.s;
            const int iy = oy * p.c.stride - p.c.pad + r, ix = ox * p.c.stride - p.c.pad + s;
            if (iy < 0 || iy >= p.x.h || ix < 0 || ix >= p.x.w) continue;
            const int first = ((n * p.x.h + iy) * p.x.w + ix) * p.x.c + f / per_group * p.w.c;
            const int weight = ((f * p.w.r + r) * p.w.s + s) * p.w.c;
            const int out = ((n * p.y.h + oy) * p.y.w + ox) * p.y.c + f;
            for (int c = 0; c < p.w.c; ++c) add(size_t(first + c), size_t(weight + c), size_t(out));
          }
        }
      }
    }
  }
}

struct Pointers {
  void *x, *w, *y;
};

void convolve(const Convolution& p, Pass pass, Pointers at) {
  const NumberType type = number_type(p.x.type);
  std::vector<double> x = decoded(type, at.x, p.inputs()), w = decoded(type, at.w, p.filters()),
                      y = decoded(type, at.y, p.outputs());
  std::vector<double>& result = pass == Pass::kForward ? y : pass == Pass::kData ? x : w;
  std::fill(result.begin(), result.end(), 0.0);
  each_product(p, [&](size_t i, size_t k, size_t o) {
    if (pass == Pass::kForward) y[o] += x[i] * w[k];
    if (pass == Pass::kData) x[i] += y[o] * w[k];
    if (pass == Pass::kFilter) w[k] += y[o] * x[i];
  });
  if (state().machine.corrupt_convolutions) result[result.size() / 2] += 1;
  encode(type, result.data(), int64_t(result.size()),
         pass == Pass::kForward ? at.y
         : pass == Pass::kData  ? at.x
                                : at.w,
         0);
}

cudnnStatus_t run(const char* call, cudnnHandle_t handle, const Convolution& p, Pass pass, Pointers at, int algorithm,
                  size_t workspace) {
  if (fails(call)) return CUDNN_STATUS_EXECUTION_FAILED;
  if (!p.fits()) return CUDNN_STATUS_BAD_PARAM;
  if (workspace < (algorithm == 1 ? kWorkspace : 0)) return CUDNN_STATUS_BAD_PARAM;
  const double cost = state().machine.candidates[static_cast<size_t>(algorithm)].cost;
  enqueue(handle->stream, cost * p.flops() / kFlops_per_s, [=] { convolve(p, pass, at); });
  return CUDNN_STATUS_SUCCESS;
}

template <typename Found>
cudnnStatus_t guess(const char* call, const Convolution& p, int most, int* count, Found* found) {
  if (fails(call)) return CUDNN_STATUS_INTERNAL_ERROR;
  if (!p.fits()) return CUDNN_STATUS_BAD_PARAM;
  *count = std::min(most, 2);
  for (int i = 0; i < *count; ++i) {
    found[i] = {};
    found[i].algo = static_cast<decltype(found[i].algo)>(1 - i);
    found[i].memory = i == 0 ? kWorkspace : 0;
    found[i].status = CUDNN_STATUS_SUCCESS;
  }
  return CUDNN_STATUS_SUCCESS;
}

template <typename Handle>
cudnnStatus_t created(const char* call, const char* kind, Handle* handle) {
  if (fails(call)) return CUDNN_STATUS_ALLOC_FAILED;
  *handle = new std::remove_pointer_t<Handle>();
  count_alive(kind, 1);
  return CUDNN_STATUS_SUCCESS;
}

template <typename Handle>
cudnnStatus_t destroyed(const char* call, const char* kind, Handle handle) {
  const bool failing = fails(call);
  delete handle;
  count_alive(kind, -1);
  return failing ? CUDNN_STATUS_INTERNAL_ERROR : CUDNN_STATUS_SUCCESS;
}

template <typename T>
void* plain(const T* pointer) {
  return const_cast<void*>(static_cast<const void*>(pointer));
}

}  // namespace

extern "C" {

size_t cudnnGetVersion() { return 91301; }

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) { return created("cudnnCreate", "cuDNN handle", handle); }
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) { return destroyed("cudnnDestroy", "cuDNN handle", handle); }

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  if (fails("cudnnSetStream")) return CUDNN_STATUS_INTERNAL_ERROR;
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t* tensor) {
  return created("cudnnCreateTensorDescriptor", "tensor descriptor", tensor);
}
cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t tensor) {
  return destroyed("cudnnDestroyTensorDescriptor", "tensor descriptor", tensor);
}

cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t tensor, cudnnTensorFormat_t format,
                                         cudnnDataType_t type, int n, int c, int h, int w) {
  if (fails("cudnnSetTensor4dDescriptor")) return CUDNN_STATUS_INTERNAL_ERROR;
  *tensor = {.type = type, .n = n, .c = c, .h = h, .w = w};
  return format == CUDNN_TENSOR_NHWC ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}

cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t* filter) {
  return created("cudnnCreateFilterDescriptor", "filter descriptor", filter);
}
cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t filter) {
  return destroyed("cudnnDestroyFilterDescriptor", "filter descriptor", filter);
}

cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t filter, cudnnDataType_t type,
                                         cudnnTensorFormat_t format, int k, int c, int r, int s) {
  if (fails("cudnnSetFilter4dDescriptor")) return CUDNN_STATUS_INTERNAL_ERROR;
  *filter = {.type = type, .k = k, .c = c, .r = r, .s = s};
  return format == CUDNN_TENSOR_NHWC ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}

cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t* convolution) {
  return created("cudnnCreateConvolutionDescriptor", "convolution descriptor", convolution);
}
cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t convolution) {
  return destroyed("cudnnDestroyConvolutionDescriptor", "convolution descriptor", convolution);
}

cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t convolution, int pad_h, int pad_w, int u,
                                              int v, int dilation_h, int dilation_w, cudnnConvolutionMode_t mode,
                                              cudnnDataType_t compute) {
  if (fails("cudnnSetConvolution2dDescriptor")) return CUDNN_STATUS_INTERNAL_ERROR;
  const bool square = pad_h == pad_w && u == v && dilation_h == 1 && dilation_w == 1;
  if (!square || mode != CUDNN_CROSS_CORRELATION || compute != CUDNN_DATA_FLOAT) return CUDNN_STATUS_BAD_PARAM;
  convolution->pad = pad_h;
  convolution->stride = u;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t convolution, int groups) {
  if (fails("cudnnSetConvolutionGroupCount")) return CUDNN_STATUS_INTERNAL_ERROR;
  convolution->groups = groups;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t, cudnnMathType_t) {
  return fails("cudnnSetConvolutionMathType") ? CUDNN_STATUS_INTERNAL_ERROR : CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(cudnnHandle_t, cudnnTensorDescriptor_t x,
                                                     cudnnFilterDescriptor_t w, cudnnConvolutionDescriptor_t c,
                                                     cudnnTensorDescriptor_t y, int most, int* count,
                                                     cudnnConvolutionFwdAlgoPerf_t* found) {
  return guess("cudnnGetConvolutionForwardAlgorithm_v7", {*x, *y, *w, *c}, most, count, found);
}

cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(cudnnHandle_t, cudnnFilterDescriptor_t w,
                                                          cudnnTensorDescriptor_t y, cudnnConvolutionDescriptor_t c,
                                                          cudnnTensorDescriptor_t x, int most, int* count,
                                                          cudnnConvolutionBwdDataAlgoPerf_t* found) {
  return guess("cudnnGetConvolutionBackwardDataAlgorithm_v7", {*x, *y, *w, *c}, most, count, found);
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(cudnnHandle_t, cudnnTensorDescriptor_t x,
                                                            cudnnTensorDescriptor_t y, cudnnConvolutionDescriptor_t c,
                                                            cudnnFilterDescriptor_t w, int most, int* count,
                                                            cudnnConvolutionBwdFilterAlgoPerf_t* found) {
  return guess("cudnnGetConvolutionBackwardFilterAlgorithm_v7", {*x, *y, *w, *c}, most, count, found);
}

cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void*, cudnnTensorDescriptor_t x, const void* input,
                                      cudnnFilterDescriptor_t w, const void* filters, cudnnConvolutionDescriptor_t c,
                                      cudnnConvolutionFwdAlgo_t algorithm, void*, size_t workspace, const void*,
                                      cudnnTensorDescriptor_t y, void* output) {
  return run("cudnnConvolutionForward", handle, {*x, *y, *w, *c}, Pass::kForward,
             {plain(input), plain(filters), output}, algorithm, workspace);
}

cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void*, cudnnFilterDescriptor_t w,
                                           const void* filters, cudnnTensorDescriptor_t y, const void* output,
                                           cudnnConvolutionDescriptor_t c, cudnnConvolutionBwdDataAlgo_t algorithm,
                                           void*, size_t workspace, const void*, cudnnTensorDescriptor_t x,
                                           void* input) {
  return run("cudnnConvolutionBackwardData", handle, {*x, *y, *w, *c}, Pass::kData,
             {input, plain(filters), plain(output)}, algorithm, workspace);
}

cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void*, cudnnTensorDescriptor_t x,
                                             const void* input, cudnnTensorDescriptor_t y, const void* output,
                                             cudnnConvolutionDescriptor_t c, cudnnConvolutionBwdFilterAlgo_t algorithm,
                                             void*, size_t workspace, const void*, cudnnFilterDescriptor_t w,
                                             void* filters) {
  return run("cudnnConvolutionBackwardFilter", handle, {*x, *y, *w, *c}, Pass::kFilter,
             {plain(input), filters, plain(output)}, algorithm, workspace);
}

}  // extern "C"
