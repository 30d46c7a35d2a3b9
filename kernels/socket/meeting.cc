// Meeting, watching and parting. Greetings and news are sent as bytes between processes of one program.
#include "kernels/socket/meeting.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <exception>

namespace farscale {

// What a rank says when it connects.
struct Greeting {
  std::array<char, 16> magic{};
  int32_t rank = 0;
  int32_t size = 0;
  int32_t pid = 0;
  uint64_t start_time = 0;
  std::array<char, 256> host{};
  std::array<char, 64> channel{};
};

struct Caller {
  Connection connection;
  Greeting greeting;
};

// What goes over the first channel once all have met.
struct News {
  enum Kind : int32_t { kBye, kLost, kEnd };
  Kind kind = kBye;
  int32_t code = 0;
  std::array<char, 320> text{};
};

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::array<char, 16> kMagic = {'f', 'a', 'r', 's', 'c', 'a', 'l', 'e', ' ', 'r', 'a', 'n', 'k', ' ', '1'};
constexpr double kStranger_s = 5;     // how long somebody who connected may take to say who they are
constexpr double kFarewell_s = 5;     // after an error
constexpr double kOperation_s = 600;  // one wait inside a call; a run's own deadline (on_lost) is shorter
constexpr const char* kFirst = "news";

template <size_t N>
void copy_text(const std::string& from, std::array<char, N>& to) {
  to.fill('\0');
  std::copy_n(from.data(), std::min(from.size(), N - 1), to.data());
}

News news_of(News::Kind kind, int code, const std::string& text) {
  News news{.kind = kind, .code = code};
  copy_text(text, news.text);
  return news;
}

Greeting own_greeting(const Rendezvous& where, const std::string& channel) {
  Greeting self{.magic = kMagic, .rank = where.rank, .size = where.size, .pid = ::getpid()};
  self.start_time = process_state(self.pid).start_time;
  ::gethostname(self.host.data(), self.host.size() - 1);
  copy_text(channel, self.channel);
  return self;
}

// Every rank is a few open files of rank 0.
void raise_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

bool told_to(const Connection& connection, const News& news) {
  try {
    connection.send(&news, sizeof news);
    return true;
  } catch (const CallError&) {  // lost: its end of the channel says so
    return false;
  }
}

}  // namespace

Meeting::Meeting(const Rendezvous& where, double patience_s) : where_(where), patience_s_(patience_s) {
  const auto ranks = static_cast<size_t>(size());
  ended_.assign(ranks, false);
  gone_.assign(ranks, false);
  if (rank() == 0) listener_ = listen_at(where_.host, where_.port);
  meet();
  if (::pipe2(pipe_, O_CLOEXEC) != 0) throw EnvironmentError("pipe2(O_CLOEXEC): no file descriptors left");
  watcher_ = std::thread([this] { watch(); });
}

// Rank 0 learns of all from their greetings and passes these on to each.
void Meeting::meet() {
  std::vector<Greeting> all;
  if (rank() == 0) {
    raise_file_limit();
    news_ = gather_ranks(kFirst, all);
    for (int other = 1; other < size(); ++other) {
      news_[static_cast<size_t>(other)].send(all.data(), all.size() * sizeof(Greeting));
    }
    return introduce(all);
  }
  news_.resize(1);
  news_[0] = greet(kFirst);
  news_[0].set_patience(patience_s_ + 10);  // rank 0 gives up first, and says why
  all.resize(static_cast<size_t>(size()));
  try {
    news_[0].receive(all.data(), all.size() * sizeof(Greeting));
  } catch (const CallError& error) {
    throw EnvironmentError(fmt::format("rank 0 of {} at {} port {} ended before all ranks had come ({}): it says why",
                                       size(), where_.host, where_.port, error.what()));
  }
  introduce(all);
}

void Meeting::introduce(const std::vector<Greeting>& all) {
  std::vector<Peer> peers;
  for (const Greeting& other : all) {
    hosts_.emplace_back(other.host.data());
    names_.push_back(fmt::format("rank {} (pid {} on host {})", other.rank, other.pid, other.host.data()));
    peers.push_back({other.rank, other.host.data(), other.pid, other.start_time});
  }
  const auto mine = hosts_.begin() + rank();
  local_rank_ = where_.local_rank >= 0 ? where_.local_rank : static_cast<int>(std::count(hosts_.begin(), mine, *mine));
  lifeline_ = std::make_unique<Lifeline>(rank(), std::move(peers));
}

Channel Meeting::open_channel(const std::string& name) {
  std::vector<Greeting> ignored;
  if (rank() == 0) return gather_ranks(name, ignored);
  Channel channel(1);
  channel[0] = greet(name);
  channel[0].set_patience(kOperation_s);
  return channel;
}

// Rank 0: takes whoever connects until all ranks of this channel are there; those of another one wait for it.
Channel Meeting::gather_ranks(const std::string& name, std::vector<Greeting>& greetings) {
  const std::lock_guard lock(opening_);
  const auto start = Clock::now();
  std::map<int, Caller>& callers = waiting_[name];
  while (static_cast<int>(callers.size()) < size() - 1) {
    if (std::chrono::duration<double>(Clock::now() - start).count() > patience_s_) {
      throw EnvironmentError(fmt::format("of {} ranks, {} did not come to {} port {} within {:.0f} s", size(),
                                         missing_of(name), where_.host, where_.port, patience_s_));
    }
    take_caller();
  }
  Channel channel(static_cast<size_t>(size()));
  greetings.assign(static_cast<size_t>(size()), own_greeting(where_, name));
  for (auto& [other, caller] : callers) {
    channel[static_cast<size_t>(other)] = std::move(caller.connection);
    greetings[static_cast<size_t>(other)] = caller.greeting;
  }
  waiting_.erase(name);
  return channel;
}

// Whoever connects next: strangers are dropped without a word, ranks that do not belong here with one.
void Meeting::take_caller() {
  Caller caller{.connection = next_of(listener_, std::min(1.0, patience_s_)), .greeting = {}};
  if (!caller.connection.open()) return;
  try {
    caller.connection.set_patience(kStranger_s);
    caller.connection.receive(&caller.greeting, sizeof(Greeting));
    if (caller.greeting.magic != kMagic) return;
    const News answer = news_of(News::kBye, 0, refusal(caller.greeting));
    caller.connection.send(&answer, sizeof answer);
    if (answer.text[0] != '\0') return;
    caller.connection.set_patience(kOperation_s);
    waiting_[caller.greeting.channel.data()][caller.greeting.rank] = std::move(caller);
  } catch (const CallError&) {  // gone before it said who it was
  }
}

std::string Meeting::missing_of(const std::string& channel) const {
  const std::map<int, Caller>& callers = waiting_.at(channel);
  std::vector<int> missing;
  for (int other = 1; other < size(); ++other) {
    if (!callers.contains(other)) missing.push_back(other);
  }
  return fmt::format("{} {}", missing.size() == 1 ? "rank" : "ranks", fmt::join(missing, ", "));
}

std::string Meeting::refusal(const Greeting& greeting) const {
  if (greeting.size != size()) {
    return fmt::format("rank 0 was told of {} ranks, rank {} of {}", size(), greeting.rank, greeting.size);
  }
  if (greeting.rank < 1 || greeting.rank >= size()) return fmt::format("rank {} of {}", greeting.rank, size());
  const auto channel = waiting_.find(greeting.channel.data());
  if (channel == waiting_.end() || !channel->second.contains(greeting.rank)) return "";
  return fmt::format("another process came as rank {} before", greeting.rank);
}

Connection Meeting::greet(const std::string& name) {
  const Greeting self = own_greeting(where_, name);
  Connection connection = connect_to(where_.host, where_.port, patience_s_);
  connection.set_patience(patience_s_);
  News answer;
  try {
    connection.send(&self, sizeof self);
    connection.receive(&answer, sizeof answer);
  } catch (const CallError& error) {
    throw EnvironmentError(
        fmt::format("no rank 0 of farscale answers at {} port {} ({}): is MASTER_PORT another program's?", where_.host,
                    where_.port, error.what()));
  }
  if (answer.text[0] != '\0') throw EnvironmentError(fmt::format("refused by rank 0: {}", answer.text.data()));
  return connection;
}

void Meeting::on_lost(double deadline_s, std::function<void(const std::string&)> lost) {
  {
    const std::lock_guard lock(mutex_);
    lost_ = std::move(lost);
  }
  lifeline_->start(deadline_s, [this](const std::string& message) { tell(message, true); });
}

void Meeting::tell(const std::string& message, bool from_lifeline) {
  std::function<void(const std::string&)> lost;
  {
    const std::lock_guard lock(mutex_);
    if (told_ || leaving_ || !lost_) return;
    told_ = true;
    lost = lost_;
  }
  if (from_lifeline && rank() == 0) pass_on(news_of(News::kLost, 0, message), 0);
  lost(message);
}

void Meeting::wait_for_the_loss_to_be_told() const {
  std::unique_lock lock(mutex_);
  if (!lost_) return;
  constexpr auto kUntilTold = std::chrono::seconds(10);
  changed_.wait_for(lock, kUntilTold, [] { return false; });
}

void Meeting::end_all(int exit_code) {
  const std::string who = names_.empty() ? "a rank" : described(rank());
  const News news = news_of(News::kEnd, exit_code, fmt::format("{} ended the run (exit code {})", who, exit_code));
  pass_on(news, rank());
  std::fflush(nullptr);
  std::_Exit(exit_code);
}

// Rank 0 tells all others but one; the others tell rank 0.
void Meeting::pass_on(const News& news, int but) {
  const std::lock_guard lock(sending_);
  for (size_t other = 0; other < news_.size(); ++other) {
    const bool wanted = rank() != 0 || static_cast<int>(other) != but;
    if (wanted && news_[other].open()) (void)told_to(news_[other], news);
  }
}

void Meeting::act_on(const News& news) {
  const std::string text = news.text.data();
  bool listened = false;
  {
    const std::lock_guard lock(mutex_);
    listened = static_cast<bool>(lost_);
  }
  if (listened) return tell(text, false);
  if (news.kind != News::kEnd) return;
  std::fflush(nullptr);
  std::_Exit(news.code);
}

// One connection has news, or has ended.
void Meeting::look_at(int other) {
  const auto place = static_cast<size_t>(other);
  const int from = rank() == 0 ? other : 0;
  News news;
  try {
    news_[place].receive(&news, sizeof news);
  } catch (const CallError&) {
    const std::string message = fmt::format("{} died", described(from));
    bool expected = false;
    {
      const std::lock_guard lock(mutex_);
      expected = ended_[place] || others_ended_;
      gone_[place] = true;
      changed_.notify_all();
    }
    if (expected) return;
    const News death = news_of(News::kLost, 0, message);
    if (rank() == 0) pass_on(death, other);
    return act_on(death);
  }
  if (news.kind != News::kBye) {
    if (rank() == 0) pass_on(news, other);
    return act_on(news);
  }
  const std::lock_guard lock(mutex_);
  ended_[place] = true;
  others_ended_ = others_ended_ || rank() != 0;
  changed_.notify_all();
}

void Meeting::watch() {
  while (true) {
    std::vector<pollfd> waits = {{.fd = pipe_[0], .events = POLLIN, .revents = 0}};
    std::vector<int> whose = {-1};
    for (size_t other = 0; other < news_.size(); ++other) {
      const std::lock_guard lock(mutex_);
      if (!news_[other].open() || gone_[other]) continue;
      waits.push_back({.fd = news_[other].fd(), .events = POLLIN, .revents = 0});
      whose.push_back(static_cast<int>(other));
    }
    if (::poll(waits.data(), waits.size(), -1) < 0) continue;
    if (waits[0].revents != 0) return;
    for (size_t i = 1; i < waits.size(); ++i) {
      if (waits[i].revents != 0) look_at(whose[i]);
    }
  }
}

bool Meeting::all_ended() const {
  if (rank() != 0) return others_ended_ || gone_[0];
  for (size_t other = 1; other < ended_.size(); ++other) {
    if (!ended_[other] && !gone_[other]) return false;
  }
  return true;
}

// Every rank says goodbye to rank 0; when all have, rank 0 says it to them. After an error only for a while.
void Meeting::part() {
  const std::shared_ptr<CallSlot> slot = lifeline_->new_slot();
  const InCall inside(*slot, "waiting for the others' end", 0);
  const News bye = news_of(News::kBye, 0, "");
  if (rank() != 0) pass_on(bye, 0);
  const double patience_s = std::uncaught_exceptions() > 0 ? kFarewell_s : kOperation_s;
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::duration<double>(patience_s), [this] { return all_ended(); });
  others_ended_ = leaving_ = true;
  lock.unlock();
  if (rank() == 0) pass_on(bye, 0);
}

Meeting::~Meeting() {
  lifeline_->expect_exits();
  part();
  lifeline_->stop();
  [[maybe_unused]] const auto ignored = ::write(pipe_[1], "q", 1);
  watcher_.join();
  ::close(pipe_[0]);
  ::close(pipe_[1]);
  // A launcher ends the others at the first exit code that is not 0: rank 0 gets the time to say why.
  if (std::uncaught_exceptions() > 0 && rank() != 0) std::this_thread::sleep_for(std::chrono::milliseconds(300));
}

}  // namespace farscale
