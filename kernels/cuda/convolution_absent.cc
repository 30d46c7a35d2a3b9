// Where cuDNN's headers were not there at build time.
#include "kernels/cuda/convolution.h"

namespace farscale::cuda {
namespace {

constexpr const char* kReason = "this module was built without cuDNN's headers";

class NoConvolutions final : public Convolutions {
 public:
  Maybe<std::unique_ptr<Operation>> prepare(const ConvolutionProblem&, const OperationSettings&,
                                            const Device&) override {
    return Maybe<std::unique_ptr<Operation>>::absent(kReason);
  }
  std::string version() override { return kReason; }
};

}  // namespace

std::unique_ptr<Convolutions> make_convolutions() { return std::make_unique<NoConvolutions>(); }

}  // namespace farscale::cuda
