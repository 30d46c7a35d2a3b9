// Opening cuBLASLt and making its descriptors.
#include "kernels/cuda/blas.h"

#include <fmt/format.h>

#include <array>

#include "kernels/cuda/call.h"

namespace farscale::cuda {
namespace {

// cublasLtMatmulTile_t, whose names are in cublasLt.h alone: CMakeLists.txt takes them from there.
constexpr std::pair<int, const char*> kTiles[] = {
#include "kernels/cuda/cublas_tiles.inc"
};

using Opened = Maybe<std::shared_ptr<const Blas>>;

constexpr const char* kInstall =
    "install cuBLAS of the CUDA toolkit this module was built with, or put its folder into LD_LIBRARY_PATH (Python's "
    "nvidia-cublas package holds it too)";

}  // namespace

Opened Blas::open() {
  const std::string major = fmt::format("libcublasLt.so.{}", CUBLAS_VER_MAJOR);
  auto library = Library::open({major, "libcublasLt.so"}, kInstall);
  if (!library) return Opened::absent(library.reason());
  std::shared_ptr<Blas> blas(new Blas());
  blas->library_ = std::move(*library);
  std::string missing;
#define FARSCALE_FIND(call) \
  if (!blas->library_->find(#call, blas->calls_.call)) missing = #call;
  FARSCALE_CUBLASLT_CALLS(FARSCALE_FIND)
#undef FARSCALE_FIND
  const std::string& soname = blas->library_->soname();
  if (!missing.empty()) return Opened::absent(fmt::format("{} has no {}: {}", soname, missing, kInstall));
  const size_t version = blas->calls_.cublasLtGetVersion();
  if (version / 10000 != CUBLAS_VER_MAJOR) {  // descriptors and algorithm structures may differ between majors
    return Opened::absent(fmt::format("{} is version {}, this module was built against {}: {}", soname, version,
                                      CUBLAS_VERSION, kInstall));
  }
  const BlasCalls& calls = blas->calls_;
  FARSCALE_CALL(calls.cublasLtCreate(&blas->handle_));
  return std::shared_ptr<const Blas>(std::move(blas));
}

Blas::~Blas() {
  if (handle_ != nullptr) (void)calls_.cublasLtDestroy(handle_);
}

std::string Blas::version() const {
  const size_t version = calls_.cublasLtGetVersion();
  return fmt::format("cuBLASLt {}.{}.{} ({})", version / 10000, version / 100 % 100, version % 100, library_->soname());
}

MatmulDescriptor::MatmulDescriptor(std::shared_ptr<const Blas> blas, cublasComputeType_t compute,
                                   cudaDataType_t scale) {
  cublasLtMatmulDesc_t handle = nullptr;
  const BlasCalls& calls = blas->calls();
  FARSCALE_CALL(calls.cublasLtMatmulDescCreate(&handle, compute, scale));
  handle_ = {handle, Destroy{std::move(blas)}};
}

void MatmulDescriptor::set(cublasLtMatmulDescAttributes_t attribute, const void* value, size_t bytes) {
  const BlasCalls& calls = handle_.get_deleter().blas->calls();
  FARSCALE_CALL(calls.cublasLtMatmulDescSetAttribute(handle_.get(), attribute, value, bytes));
}

void MatmulDescriptor::Destroy::operator()(cublasLtMatmulDesc_t handle) const noexcept {
  (void)blas->calls().cublasLtMatmulDescDestroy(handle);
}

MatrixLayout::MatrixLayout(std::shared_ptr<const Blas> blas, const MatrixShape& shape) {
  cublasLtMatrixLayout_t handle = nullptr;
  const BlasCalls& calls = blas->calls();
  const int64_t leading = static_cast<int64_t>(shape.rows);
  FARSCALE_CALL(calls.cublasLtMatrixLayoutCreate(&handle, shape.type, shape.rows, shape.columns, leading));
  handle_ = {handle, Destroy{std::move(blas)}};
  if (shape.batch == 1) return;
  const int64_t stride = leading * static_cast<int64_t>(shape.columns);
  FARSCALE_CALL(calls.cublasLtMatrixLayoutSetAttribute(handle, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &shape.batch,
                                                       sizeof shape.batch));
  FARSCALE_CALL(calls.cublasLtMatrixLayoutSetAttribute(handle, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride,
                                                       sizeof stride));
}

void MatrixLayout::Destroy::operator()(cublasLtMatrixLayout_t handle) const noexcept {
  (void)blas->calls().cublasLtMatrixLayoutDestroy(handle);
}

MatmulPreference::MatmulPreference(std::shared_ptr<const Blas> blas, uint64_t workspace_bytes) {
  cublasLtMatmulPreference_t handle = nullptr;
  const BlasCalls& calls = blas->calls();
  FARSCALE_CALL(calls.cublasLtMatmulPreferenceCreate(&handle));
  handle_ = {handle, Destroy{std::move(blas)}};
  FARSCALE_CALL(calls.cublasLtMatmulPreferenceSetAttribute(handle, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                           &workspace_bytes, sizeof workspace_bytes));
}

void MatmulPreference::Destroy::operator()(cublasLtMatmulPreference_t handle) const noexcept {
  (void)blas->calls().cublasLtMatmulPreferenceDestroy(handle);
}

AlgorithmFacts facts_of(const Blas& blas, const cublasLtMatmulAlgo_t& algorithm) {
  const auto ask = [&](cublasLtMatmulAlgoConfigAttributes_t attribute, auto value) {
    size_t written = 0;
    const cublasStatus_t status =
        blas.calls().cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof value, &written);
    return status == CUBLAS_STATUS_SUCCESS ? static_cast<int>(value) : -1;  // a fact for the record, never an error
  };
  return {.id = ask(CUBLASLT_ALGO_CONFIG_ID, int32_t{}),
          .tile = ask(CUBLASLT_ALGO_CONFIG_TILE_ID, uint32_t{}),
          .split_k = ask(CUBLASLT_ALGO_CONFIG_SPLITK_NUM, int32_t{}),
          .stages = ask(CUBLASLT_ALGO_CONFIG_STAGES_ID, uint32_t{}),
          .cluster = ask(CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, uint16_t{})};
}

std::string tile_name(int tile) {
  for (const auto& [number, name] : kTiles) {
    if (number == tile) return name;
  }
  return fmt::format("tile {}", tile);
}

}  // namespace farscale::cuda
