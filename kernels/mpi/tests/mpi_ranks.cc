// One rank of the tests of worlds: started under a launcher by CTest with the name of a check. Rank 0 prints "passed
// NAME"; anything wrong ends with a message and a non-zero exit code.
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <thread>

#include "kernels/module.h"
#include "kernels/reference.h"

namespace farscale {
namespace {

constexpr std::array kTypes = {NumberType::kFp64, NumberType::kFp32, NumberType::kBf16, NumberType::kInt8};

void expect(bool ok, const std::string& what) {
  if (!ok) throw CallError("not so: " + what);
}

void check_texts(World& world) {
  const int rank = world.rank(), size = world.size();
  expect(world.library().starts_with("Open MPI ") || world.library().starts_with("MPICH ") ||
             world.library() == "TCP through rank 0, no MPI",
         world.library());
  expect(world.library().find_first_of("\t\n") == std::string::npos, "a clean version: " + world.library());
  expect(static_cast<int>(world.hosts().size()) == size, "a host for each rank");
  expect(world.local_rank() == rank, "all ranks of the test on one host");
  const std::string long_text(100'000, 'x');
  for (int root = 0; root < size; ++root) {
    expect(world.broadcast(rank == root ? fmt::format("from {}", root) : "other", root) == fmt::format("from {}", root),
           "broadcast of a text");
    expect(world.broadcast(rank == root ? long_text : "", root) == long_text, "broadcast of a long text");
    expect(world.broadcast(rank == root ? "" : "other", root).empty(), "broadcast of nothing");
  }
  const std::vector<std::string> texts = world.gather(std::string(static_cast<size_t>(rank) * 3, 'a'));
  for (int r = 0; r < size; ++r) expect(texts.at(r) == std::string(static_cast<size_t>(r) * 3, 'a'), "gather");
  const double n = size, last = size - 1;
  const std::vector<double> mine = {double(rank), -double(rank), 1};
  expect(world.reduce(mine, Reduction::kSum) == std::vector<double>{n * last / 2, -n * last / 2, n}, "sum");
  expect(world.reduce(mine, Reduction::kMax) == std::vector<double>{last, 0, 1}, "max");
  expect(world.reduce(mine, Reduction::kMin) == std::vector<double>{0, -last, 1}, "min");
  expect(world.reduce({}, Reduction::kSum).empty(), "nothing reduced");
  world.barrier();
}

// Runs a collective and holds it against the pattern.
void check_one(const World& world, const CollectiveProblem& problem) {
  const CollectivePattern pattern(problem);
  std::vector<std::byte> send(static_cast<size_t>(problem.bytes), std::byte{0xFF}), receive = send;
  const bool in_place = problem.in_place || problem.kind == CollectiveKind::kBroadcast;
  std::byte* from = in_place ? receive.data() : send.data();
  const bool own_part = problem.in_place && problem.kind == CollectiveKind::kAllGather;
  const int64_t offset = own_part ? world.rank() * (problem.bytes / problem.ranks) : 0;
  if (problem.kind != CollectiveKind::kBroadcast || world.rank() == 0) pattern.write(world.rank(), from + offset);
  world.collective(problem, from, receive.data());
  const Verdict verdict = pattern.check(world.rank(), receive.data());
  expect(verdict.correct, problem.name() + ": " + verdict.detail);
}

void check_collectives(World& world) {
  for (const CollectiveKind kind : kCollectiveKinds) {
    for (const NumberType type : kTypes) {
      for (const bool in_place : {false, true}) {
        for (const int64_t part : {1, 1000, 40'000}) {
          check_one(world, {.kind = kind,
                            .bytes = part * world.size() * static_cast<int64_t>(bytes_per_element(type)),
                            .type = type,
                            .ranks = world.size(),
                            .in_place = in_place});
        }
      }
    }
  }
  try {
    world.collective({.kind = CollectiveKind::kAllReduce, .bytes = 64, .ranks = world.size() + 1}, nullptr, nullptr);
  } catch (const InputError&) {
    return;
  }
  expect(false, "a problem for another number of ranks is refused");
}

void check_threads(World& world) {
  const std::unique_ptr<World> beside = world.duplicate();
  const CollectiveProblem large{.kind = CollectiveKind::kAllReduce, .bytes = 400'000, .ranks = world.size()};
  const CollectiveProblem small{.kind = CollectiveKind::kAllToAll, .bytes = 800L * world.size(), .ranks = world.size()};
  std::string failed;
  std::thread thread([&] {
    try {
      for (int i = 0; i < 20; ++i) check_one(*beside, large);
    } catch (const std::exception& error) {
      failed = error.what();
    }
  });
  for (int i = 0; i < 40; ++i) check_one(world, small);
  thread.join();
  expect(failed.empty(), failed);
}

// Collectives through the host module: on the calling thread and on the communication queue's own ranks.
void check_host(World& world) {
  auto backend = open_backend("host", world);
  expect(static_cast<bool>(backend), backend.reason());
  const auto compute = (*backend)->open_queue(QueueRole::kCompute);
  const auto communication = (*backend)->open_queue(QueueRole::kCommunication);
  for (const CollectiveKind kind : kCollectiveKinds) {
    for (const bool in_place : {false, true}) {
      const CollectiveProblem problem{
          .kind = kind, .bytes = 1024L * world.size(), .ranks = world.size(), .in_place = in_place};
      auto operation = (*backend)->prepare(problem, {.cold = in_place, .world = &world});
      expect(static_cast<bool>(operation), operation.reason());
      const Verdict verdict = (*operation)->verify();
      expect(verdict.correct, problem.name() + ": " + verdict.detail);
      expect((*backend)->time_s(**operation, *compute, 3) > 0, "a time");
      expect((*backend)->time_s(**operation, *communication, 3) > 0, "a time");
    }
  }
  const auto other = (*backend)->prepare(CollectiveProblem{.bytes = 64, .ranks = world.size() + 1}, {});
  expect(!other, "a problem for another number of ranks is absent");
}

// The last rank is lost in the given way while the others reduce; they must say which.
void lose(World& world, double deadline_s, const std::function<void()>& end) {
  world.on_lost(deadline_s, [&](const std::string& message) {
    const std::string line = fmt::format("lost on rank {}: {}\n", world.rank(), message);
    [[maybe_unused]] const auto ignored = ::write(1, line.data(), line.size());
    std::_Exit(7);
  });
  world.barrier();
  for (int i = 0;; ++i) {
    if (world.rank() == world.size() - 1 && i == 50) end();
    world.reduce({1.0, 2.0}, Reduction::kSum);
    ::usleep(1000);
  }
}

void check_kill(World& world) {
  lose(world, 60, [] { std::raise(SIGKILL); });
}
void check_stop(World& world) {
  lose(world, 2, [] { std::raise(SIGSTOP); });
}
void check_hang(World& world) {
  lose(world, 2, [] { ::sleep(600); });
}

// A slow end of one rank is not a loss: the others wait for it.
void check_end(World& world) {
  world.on_lost(1.5, [](const std::string& message) {
    std::fprintf(stderr, "lost at the end: %s\n", message.c_str());
    std::_Exit(7);
  });
  world.barrier();
  if (world.rank() == world.size() - 1) ::usleep(1'000'000);
}

void check_all_throw(World&) { throw InputError("all ranks refuse"); }

void check_one_throws(World& world) {
  lose(world, 60, [] { throw InputError("one rank refuses"); });
}

void check_abort(World& world) {
  if (world.rank() == world.size() - 1) world.abort(5);
  ::sleep(60);
}

int run(const std::string& name) {
  const std::map<std::string, void (*)(World&)> checks = {
      {"texts", check_texts},         {"collectives", check_collectives},
      {"threads", check_threads},     {"host", check_host},
      {"kill", check_kill},           {"stop", check_stop},
      {"hang", check_hang},           {"end", check_end},
      {"all_throw", check_all_throw}, {"one_throws", check_one_throws},
      {"abort", check_abort}};
  const std::unique_ptr<World> world = open_world();
  checks.at(name)(*world);
  if (world->rank() == 0) std::printf("passed %s with %d ranks\n", name.c_str(), world->size());
  return 0;
}

}  // namespace
}  // namespace farscale

int main(int argc, char** argv) {
  try {
    return argc == 2 ? farscale::run(argv[1]) : 2;
  } catch (const farscale::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
