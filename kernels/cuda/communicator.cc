// The life of a communicator. While it is made NCCL answers ncclInProgress and finishes behind the caller's back; the
// state is asked for with ncclCommGetAsyncError (NCCL user guide, "Fault Tolerance").
#include "kernels/cuda/communicator.h"

#include <fmt/format.h>

#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "kernels/cuda/call.h"

namespace farscale::cuda {
namespace {

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// World::broadcast carries text: the id travels as hexadecimal, an error as "!message".
std::string to_text(const ncclUniqueId& id) {
  std::string text;
  for (const char byte : id.internal) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

ncclUniqueId from_text(const std::string& text) {
  ncclUniqueId id;
  for (size_t i = 0; i < sizeof id.internal; ++i) {
    id.internal[i] = static_cast<char>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  }
  return id;
}

std::string make_id(const Nccl& nccl) {
  try {
    ncclUniqueId id;
    const NcclCalls& calls = nccl.calls();
    FARSCALE_CALL(calls.ncclGetUniqueId(&id));
    return to_text(id);
  } catch (const CallError& error) {
    return std::string("!") + error.what();
  }
}

// The ids of a world's communicator, the same on every rank: one from rank 0, or one from every `apart`-th rank.
std::vector<ncclUniqueId> share_ids(const Nccl& nccl, const World& world, int apart) {
  const int rank = world.rank();
  const std::string own = rank % apart == 0 ? make_id(nccl) : "";
  std::vector<ncclUniqueId> ids;
  const std::vector<std::string> texts = apart >= world.size() ? std::vector{world.broadcast(own)} : world.gather(own);
  for (size_t other = 0; other < texts.size(); ++other) {
    const std::string& text = texts[other];
    if (text.starts_with('!')) throw CallError(fmt::format("rank {} of {}: {}", other, world.size(), text.substr(1)));
    if (!text.empty()) ids.push_back(from_text(text));
  }
  return ids;
}

}  // namespace

Patience::Patience(double deadline_s) : start_s_(now_s()), deadline_s_(deadline_s) {}

double Patience::waited_s() const { return now_s() - start_s_; }

bool Patience::wait() {
  constexpr double kSpin_s = 0.02;  // a sample's end is seen at once; only a long wait sleeps
  const double waited = waited_s();
  if (waited < kSpin_s) {
    std::this_thread::yield();
  } else {
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  return waited < deadline_s_;
}

Communicator::Communicator(std::shared_ptr<const Nccl> nccl, const World& world, const CommunicatorSettings& settings)
    : nccl_(std::move(nccl)), settings_(settings), rank_(world.rank()), size_(world.size()) {
  const bool scalable = size_ >= 4 * settings.ranks_per_id && nccl_->calls().ncclCommInitRankScalable != nullptr;
  std::vector<ncclUniqueId> ids = share_ids(*nccl_, world, scalable ? settings.ranks_per_id : size_);
  const double start = now_s();
  try {
    make(ids);
    split();
  } catch (...) {
    abort();  // no destructor runs for an object that was never made
    throw;
  }
  setup_s_ = now_s() - start;
  watch_.emplace(settings_.deadlines.setup_s, [this] { abort_first(); });
}

namespace {

ncclConfig_t config_of(const CommunicatorSettings& settings, bool blocking) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = blocking ? 1 : 0;
  config.splitShare = 1;
  if (settings.most_ctas > 0) config.maxCTAs = settings.most_ctas;
  return config;
}

}  // namespace

void Communicator::make(std::vector<ncclUniqueId>& ids) {
  ncclConfig_t config = config_of(settings_, false);
  const NcclCalls& calls = nccl_->calls();
  ncclComm_t made = nullptr;
  ncclResult_t status = ncclSuccess;
  if (ids.size() > 1) {
    const int count = static_cast<int>(ids.size());
    status = calls.ncclCommInitRankScalable(&made, size_, rank_, count, ids.data(), &config);
  } else {
    status = calls.ncclCommInitRankConfig(&made, size_, ids.front(), rank_, &config);
  }
  first_ = made;
  accept(status, ids.size() > 1 ? "calls.ncclCommInitRankScalable(&made, size_, rank_, count, ids.data(), &config)"
                                : "calls.ncclCommInitRankConfig(&made, size_, ids.front(), rank_, &config)");
}

void Communicator::split() {
  ncclConfig_t config = config_of(settings_, true);
  const NcclCalls& calls = nccl_->calls();
  accept(calls.ncclCommSplit(first_, 0, rank_, &handle_, &config),
         "calls.ncclCommSplit(first_, 0, rank_, &handle_, &config)");
}

Communicator::~Communicator() { abort(); }

// After a call on the non-blocking communicator: waits until it is done.
void Communicator::accept(ncclResult_t status, const char* call, std::source_location where) {
  if (status == ncclSuccess) return;
  if (status != ncclInProgress) refuse(status, call, where);
  Patience patience(settings_.deadlines.setup_s);
  ncclResult_t state = ncclInProgress;
  const NcclCalls& calls = nccl_->calls();
  while (true) {
    FARSCALE_CALL(calls.ncclCommGetAsyncError(first_, &state));
    if (state == ncclSuccess) return;
    if (state != ncclInProgress) refuse(state, call, where);
    if (!patience.wait()) refuse(ncclInProgress, call, where);
  }
}

// A call that failed, or that was still in progress when its time was over.
void Communicator::refuse(ncclResult_t status, const char* call, const std::source_location& where) {
  const std::string place = fmt::format("at {}:{}", where.file_name(), where.line());
  if (status == ncclInProgress || (watch_ && watch_->expired())) {
    fail(call, fmt::format("the other ranks did not come within {:.0f} s {}", settings_.deadlines.setup_s, place));
  }
  fail(call, fmt::format("{} {} {}", describe(status), last_error(), place));
}

void Communicator::require_alive(const char* during) const {
  if (handle_ == nullptr) throw CallError(fmt::format("{}: the communicator was aborted before", during));
}

void Communicator::poll(const char* during) {
  ncclResult_t state = ncclSuccess;
  const NcclCalls& calls = nccl_->calls();
  require_alive(during);
  FARSCALE_CALL(calls.ncclCommGetAsyncError(handle_, &state));
  if (state != ncclSuccess && state != ncclInProgress) {
    fail(during, fmt::format("{} {}", describe(state), last_error()));
  }
}

void Communicator::fail(const std::string& during, const std::string& what) {
  abort();
  throw CallError(fmt::format("rank {} of {}: {} failed: {}", rank_, size_, during, what));
}

std::string Communicator::last_error() const {
  const char* text = nccl_->calls().ncclGetLastError(handle_);
  return text == nullptr || *text == '\0' ? "" : fmt::format("({})", text);
}

void Communicator::finalize() {
  if (handle_ == nullptr) return;
  const NcclCalls& calls = nccl_->calls();
  try {
    FARSCALE_NCCL(*this, calls.ncclCommFinalize(handle_));
    const ncclComm_t done = std::exchange(handle_, nullptr);
    FARSCALE_CALL(calls.ncclCommDestroy(done));
    accept(calls.ncclCommFinalize(first_), "calls.ncclCommFinalize(first_)");
    FARSCALE_CALL(calls.ncclCommDestroy(first_.exchange(nullptr)));
  } catch (...) {
    abort();
    throw;
  }
}

void Communicator::abort() noexcept {
  watch_.reset();  // and with it an abort from there
  if (handle_ != nullptr) (void)nccl_->calls().ncclCommAbort(std::exchange(handle_, nullptr));
  abort_first();
}

void Communicator::abort_first() noexcept {
  if (const ncclComm_t first = first_.exchange(nullptr)) (void)nccl_->calls().ncclCommAbort(first);
}

}  // namespace farscale::cuda
