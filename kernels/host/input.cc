// The input copy and its check.
#include "kernels/host/input.h"

#include <cstring>

#include "kernels/host/buffer.h"
#include "kernels/host/queue.h"

namespace farscale {
namespace {

class InputOperation final : public HostOperation {
 public:
  InputOperation(int64_t bytes, const HostContext& context) : context_(context), staged_(bytes), arrived_(bytes) {
    for (int64_t i = 0; i < bytes; ++i) staged_.as<unsigned char>()[i] = static_cast<unsigned char>(i * 131 >> 3);
  }

  // One thread, as a data loader's.
  void execute(const World*) override {
    std::memcpy(arrived_.data(), staged_.data(), static_cast<size_t>(staged_.bytes()));
  }

  Verdict verify() override {
    std::memset(arrived_.data(), 0xFF, static_cast<size_t>(arrived_.bytes()));
    execute(nullptr);
    if (context_.tamper) context_.tamper(arrived_.data(), arrived_.bytes());
    const bool same = std::memcmp(arrived_.data(), staged_.data(), static_cast<size_t>(staged_.bytes())) == 0;
    return {.correct = same, .worst_error = same ? 0.0 : 1.0, .bound = 0, .detail = "every byte compared"};
  }

 private:
  HostContext context_;
  Buffer staged_, arrived_;
};

}  // namespace

Maybe<std::unique_ptr<Operation>> make_input(int64_t bytes, const HostContext& context) {
  using Result = Maybe<std::unique_ptr<Operation>>;
  const std::string too_big = does_not_fit(context, 2 * double(bytes));
  if (!too_big.empty()) return Result::absent(too_big);
  return Result(std::make_unique<InputOperation>(bytes, context));
}

}  // namespace farscale
