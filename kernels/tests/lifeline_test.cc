#include "kernels/lifeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <future>

namespace farscale {
namespace {

using testing::HasSubstr;

// A child that waits to be ended; ends with the test.
class Child {
 public:
  Child() : pid_(::fork()) {
    if (pid_ == 0) {
      while (true) ::pause();
    }
  }
  ~Child() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  int pid() const { return pid_; }
  void signal(int number) const { ::kill(pid_, number); }

 private:
  int pid_;
};

Peer peer(int rank, int pid, const std::string& host = "h0") {
  return {.rank = rank, .host = host, .pid = pid, .start_time = process_state(pid).start_time};
}

// What the lifeline says within ten seconds, or "".
struct Listener {
  std::promise<std::string> heard;
  std::future<std::string> future = heard.get_future();
  std::function<void(const std::string&)> callback() {
    return [this](const std::string& message) { heard.set_value(message); };
  }
  std::string wait(double seconds = 10) {
    return future.wait_for(std::chrono::duration<double>(seconds)) == std::future_status::ready ? future.get() : "";
  }
};

TEST(ProcessState, KnowsItselfAndTheDead) {
  EXPECT_NE(process_state(::getpid()).state, 0);
  EXPECT_GT(process_state(::getpid()).start_time, 0U);
  EXPECT_EQ(process_state(999999999).state, 0);
}

TEST(Lifeline, NamesTheRankThatDied) {
  const Child one, two;
  Lifeline lifeline(0, {peer(0, ::getpid()), peer(1, one.pid()), peer(2, two.pid())});
  Listener listener;
  lifeline.start(60, listener.callback());
  two.signal(SIGKILL);
  EXPECT_EQ(listener.wait(), "rank 2 (pid " + std::to_string(two.pid()) + " on host h0) died");
}

TEST(Lifeline, NamesAStoppedRankAfterTheDeadlineOnly) {
  const Child one;
  Lifeline lifeline(0, {peer(0, ::getpid()), peer(1, one.pid())});
  Listener listener;
  lifeline.start(1.5, listener.callback());
  one.signal(SIGSTOP);
  EXPECT_EQ(listener.wait(0.7), "");
  EXPECT_THAT(listener.wait(), HasSubstr("rank 1 (pid " + std::to_string(one.pid()) + " on host h0) has been stopped"));
}

TEST(Lifeline, SaysWhichCallMakesNoProgressAndWhoIsAlive) {
  const Child one;
  Lifeline lifeline(0, {peer(0, ::getpid()), peer(1, one.pid()), {5, "far", 1, 1}, {6, "far", 2, 1}});
  const auto idle = lifeline.new_slot(), stuck = lifeline.new_slot();
  Listener listener;
  lifeline.start(1, listener.callback());
  const InCall inside(*stuck, "MPI_Allreduce", 4096);
  const std::string message = listener.wait();
  EXPECT_THAT(message, HasSubstr("rank 0: MPI_Allreduce of 4096 bytes made no progress"));
  EXPECT_THAT(message, HasSubstr("alive on this host: rank 1"));
  EXPECT_THAT(message, HasSubstr("not to be seen from here: ranks 5-6"));
}

TEST(Lifeline, CallsThatComeAndGoAreProgress) {
  Lifeline lifeline(0, {peer(0, ::getpid())});
  const auto slot = lifeline.new_slot();
  Listener listener;
  lifeline.start(1, listener.callback());
  for (int i = 0; i < 25; ++i) {
    const InCall inside(*slot, "MPI_Barrier", 0);
    ::usleep(100'000);
  }
  EXPECT_EQ(listener.wait(0), "");
}

TEST(Lifeline, ExpectedExitsAreNoLoss) {
  const Child one;
  Lifeline lifeline(0, {peer(0, ::getpid()), peer(1, one.pid())});
  Listener listener;
  lifeline.start(60, listener.callback());
  lifeline.expect_exits();
  one.signal(SIGKILL);
  EXPECT_EQ(listener.wait(1.2), "");
}

TEST(Lifeline, AnotherProcessWithTheSameNumberIsNotWatched) {
  const Child one;
  Peer other = peer(1, one.pid());
  other.start_time += 1;
  Lifeline lifeline(0, {peer(0, ::getpid()), other});
  Listener listener;
  lifeline.start(60, listener.callback());
  one.signal(SIGKILL);
  EXPECT_EQ(listener.wait(1.2), "");
}

TEST(Lifeline, TheLaunchersHintThatARankDiedDoesNotEndThisOne) {
  const Child one;
  Lifeline lifeline(0, {peer(0, ::getpid()), peer(1, one.pid())});
  Listener listener;
  lifeline.start(60, listener.callback());
  ::raise(SIGUSR1);
  EXPECT_EQ(listener.wait(0.3), "");
  one.signal(SIGKILL);
  EXPECT_THAT(listener.wait(), HasSubstr("rank 1"));
}

TEST(LifelineDeathTest, TerminationTellsWhoIsThereThenEndsTheProcess) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        Lifeline lifeline(0, {peer(0, ::getpid()), peer(1, ::getppid())});
        lifeline.start(60, [](const std::string& message) { std::fprintf(stderr, "%s\n", message.c_str()); });
        ::raise(SIGTERM);
        ::sleep(20);
      },
      testing::KilledBySignal(SIGTERM), "ended by SIGTERM, from the launcher or a person; alive on this host: rank 1");
}

}  // namespace
}  // namespace farscale
