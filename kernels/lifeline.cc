// The watching thread and what it says.
#include "kernels/lifeline.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fstream>
#include <map>
#include <sstream>

#include "kernels/error.h"

namespace farscale {
namespace {

constexpr int kTick_ms = 500;
constexpr char kStop = 'q', kTerminated = 't', kNews = 'n';

// The one global: a signal handler can reach nothing else.
std::atomic<int> signal_pipe{-1};

void on_signal(int signal) {
  const int fd = signal_pipe.load();
  const char* news = signal == SIGTERM ? &kTerminated : &kNews;
  if (fd < 0) return;
  [[maybe_unused]] const auto ignored = ::write(fd, news, 1);
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  ::sigaction(signal, &action, nullptr);
}

std::string described(const Peer& peer) {
  return fmt::format("rank {} (pid {} on host {})", peer.rank, peer.pid, peer.host);
}

// "ranks 0-3, 6"
std::string rank_list(const std::vector<int>& ranks) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < ranks.size();) {
    size_t j = i;
    while (j + 1 < ranks.size() && ranks[j + 1] == ranks[j] + 1) ++j;
    parts.push_back(i == j ? fmt::format("{}", ranks[i]) : fmt::format("{}-{}", ranks[i], ranks[j]));
    i = j + 1;
  }
  return fmt::format("rank{} {}", ranks.size() == 1 ? "" : "s", fmt::join(parts, ", "));
}

}  // namespace

ProcessState process_state(int pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string line;
  if (!std::getline(file, line)) return {};
  std::istringstream words(line.substr(std::min(line.size(), line.rfind(')') + 1)));  // the name may hold anything
  ProcessState found;
  std::string word;
  words >> found.state;
  for (int field = 4; field < 22; ++field) words >> word;
  words >> found.start_time;
  return found;
}

Lifeline::Lifeline(int rank, std::vector<Peer> peers) : rank_(rank), peers_(std::move(peers)) {
  const auto self = std::find_if(peers_.begin(), peers_.end(), [&](const Peer& p) { return p.rank == rank; });
  for (const Peer& peer : peers_) {
    const bool here = self != peers_.end() && peer.host == self->host && peer.rank != rank;
    // A container may hide a process of the same host: then nothing is known of it.
    if (here && process_state(peer.pid).start_time == peer.start_time) watched_.push_back({.peer = peer});
  }
}

Lifeline::~Lifeline() { stop(); }

std::shared_ptr<CallSlot> Lifeline::new_slot() {
  auto slot = std::make_shared<CallSlot>();
  const std::lock_guard lock(calls_mutex_);
  std::erase_if(calls_, [](const WatchedCall& call) { return call.slot.expired(); });
  calls_.push_back({.slot = slot});
  return slot;
}

void Lifeline::start(double deadline_s, std::function<void(const std::string&)> lost) {
  stop();
  if (::pipe2(pipe_, O_CLOEXEC | O_NONBLOCK) != 0) throw EnvironmentError("pipe2(O_CLOEXEC): no file descriptors left");
  deadline_s_ = deadline_s;
  lost_ = std::move(lost);
  for (Watched& watched : watched_) {
    watched.handle = static_cast<int>(::syscall(SYS_pidfd_open, watched.peer.pid, 0));
    if (watched.handle >= 0 && process_state(watched.peer.pid).start_time != watched.peer.start_time)
      watched.gone = true;
  }
  signal_pipe = pipe_[1];
  handle(SIGTERM, on_signal);
  // MPICH's launcher, told to leave cleaning up to the ranks, sends this to the others when one dies: not the end of
  // us.
  handle(SIGUSR1, on_signal);
  thread_ = std::thread([this] { watch(); });
}

void Lifeline::stop() {
  if (!thread_.joinable()) return;
  handle(SIGTERM, SIG_DFL);
  handle(SIGUSR1, SIG_IGN);
  signal_pipe = -1;
  [[maybe_unused]] const auto ignored = ::write(pipe_[1], &kStop, 1);
  thread_.join();
  for (Watched& watched : watched_) {
    if (watched.handle >= 0) ::close(watched.handle);
    watched.handle = -1;
  }
  ::close(pipe_[0]);
  ::close(pipe_[1]);
}

void Lifeline::watch() {
  using Clock = std::chrono::steady_clock;
  bool terminated = false;
  for (auto last = Clock::now(); wait_for_news(terminated);) {
    const auto now = Clock::now();
    // A longer gap means that this process itself was stopped: that time is nobody's fault.
    const double elapsed_s = std::min(2e-3 * kTick_ms, std::chrono::duration<double>(now - last).count());
    last = now;
    const std::string message = diagnosis(elapsed_s, terminated);
    if (message.empty()) continue;
    report(message, terminated);
    return;
  }
}

bool Lifeline::wait_for_news(bool& terminated) {
  std::vector<pollfd> waits = {{.fd = pipe_[0], .events = POLLIN, .revents = 0}};
  for (const Watched& watched : watched_) {
    if (watched.handle >= 0 && !watched.gone) waits.push_back({.fd = watched.handle, .events = POLLIN, .revents = 0});
  }
  ::poll(waits.data(), waits.size(), kTick_ms);
  for (size_t i = 1; i < waits.size(); ++i) {
    if (waits[i].revents == 0) continue;
    for (Watched& watched : watched_) watched.gone = watched.gone || watched.handle == waits[i].fd;
  }
  char news = 0;
  while (::read(pipe_[0], &news, 1) == 1) {
    if (news == kStop) return false;
    terminated = terminated || news == kTerminated;
  }
  return true;
}

void Lifeline::look_at_peers(double elapsed_s) {
  for (Watched& watched : watched_) {
    if (watched.gone) continue;
    const ProcessState now = process_state(watched.peer.pid);
    watched.gone = now.state == 0 || now.state == 'Z' || now.state == 'X' || now.start_time != watched.peer.start_time;
    const bool stopped = now.state == 'T' || now.state == 't';
    watched.stopped_s = stopped ? watched.stopped_s + elapsed_s : 0;
  }
}

std::string Lifeline::look_at_calls(double elapsed_s) {
  const std::lock_guard lock(calls_mutex_);
  for (WatchedCall& call : calls_) {
    const std::shared_ptr<CallSlot> slot = call.slot.lock();
    if (slot == nullptr) continue;
    const uint64_t sequence = slot->sequence();
    const bool inside_same = sequence % 2 == 1 && sequence == call.sequence;
    call.sequence = sequence;
    call.same_s = inside_same ? call.same_s + elapsed_s : 0;
    if (call.same_s < deadline_s_) continue;
    return fmt::format("rank {}: {} of {} bytes made no progress for {:.0f} s; {}", rank_, slot->call(), slot->bytes(),
                       call.same_s, roll_call());
  }
  return "";
}

std::string Lifeline::diagnosis(double elapsed_s, bool terminated) {
  look_at_peers(elapsed_s);
  std::vector<std::string> died, stopped;
  for (const Watched& watched : watched_) {
    if (watched.gone) died.push_back(described(watched.peer));
    if (!watched.gone && watched.stopped_s >= deadline_s_) stopped.push_back(described(watched.peer));
  }
  if (!died.empty() && !exits_expected_) return fmt::format("{} died", fmt::join(died, " and "));
  if (terminated) {
    return fmt::format("rank {} was ended by SIGTERM, from the launcher or a person; {}", rank_, roll_call());
  }
  if (!stopped.empty()) {
    return fmt::format("{} has been stopped (SIGSTOP or a debugger) for {:.0f} s", fmt::join(stopped, " and "),
                       deadline_s_);
  }
  return look_at_calls(elapsed_s);
}

std::string Lifeline::roll_call() const {
  std::vector<int> alive, stopped, gone, unknown;
  for (const Peer& peer : peers_) {
    if (peer.rank == rank_) continue;
    const auto seen = std::find_if(watched_.begin(), watched_.end(),
                                   [&](const Watched& watched) { return watched.peer.rank == peer.rank; });
    if (seen == watched_.end()) {
      unknown.push_back(peer.rank);
    } else {
      (seen->gone ? gone : seen->stopped_s > 0 ? stopped : alive).push_back(peer.rank);
    }
  }
  std::vector<std::string> parts;
  if (!gone.empty()) parts.push_back("ended: " + rank_list(gone));
  if (!stopped.empty()) parts.push_back("stopped: " + rank_list(stopped));
  if (!alive.empty()) parts.push_back("alive on this host: " + rank_list(alive));
  if (!unknown.empty()) parts.push_back("not to be seen from here: " + rank_list(unknown));
  return fmt::format("{}", fmt::join(parts, "; "));
}

void Lifeline::report(const std::string& message, bool terminated) {
  // The lowest rank left speaks first; the others wait, so that their own end is not taken for the cause.
  const bool first = std::none_of(watched_.begin(), watched_.end(), [&](const Watched& watched) {
    return !watched.gone && watched.stopped_s == 0 && watched.peer.rank < rank_;
  });
  const bool death =
      terminated || std::any_of(watched_.begin(), watched_.end(), [](const Watched& w) { return w.gone; });
  // A death is seen at once by all; a deadline is counted in ticks, which two ranks may begin a tick apart.
  if (!first) std::this_thread::sleep_for(std::chrono::milliseconds(death ? 300 : 2 * kTick_ms));
  lost_(message);
  if (!terminated) return;
  handle(SIGTERM, SIG_DFL);
  ::raise(SIGTERM);
}

}  // namespace farscale
