// The world of ranks on MPI. One source, compiled once for every MPI that is installed: farscale-mpi-openmpi.so and
// farscale-mpi-mpich.so.
#include <fmt/format.h>
#include <mpi.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <limits>

#include "kernels/mpi/calls.h"
#include "kernels/mpi/collectives.h"
#include "kernels/mpi/session.h"
#include "kernels/world.h"

namespace farscale {
namespace {

class MpiWorld final : public World {
 public:
  MpiWorld(std::shared_ptr<Session> session, MPI_Comm like)
      : session_(std::move(session)),
        slot_(session_->lifeline().new_slot()),
        ranks_(like),
        call_{.ranks = ranks_.get(), .rank = session_->rank(), .bf16_sum = session_->bf16_sum(), .slot = slot_.get()} {}

  int rank() const override { return session_->rank(); }
  int size() const override { return session_->size(); }
  int local_rank() const override { return session_->local_rank(); }
  std::string library() const override { return session_->library(); }
  std::vector<std::string> hosts() const override { return session_->hosts(); }

  void barrier() const override {
    const InCall inside(*slot_, "MPI_Barrier", 0);
    FARSCALE_MPI(MPI_Barrier(ranks_.get()));
  }
  std::string broadcast(const std::string& text, int root) const override;
  std::vector<std::string> gather(const std::string& text) const override;
  std::vector<double> reduce(std::vector<double> values, Reduction op) const override;

  void collective(const CollectiveProblem& problem, const void* send, void* receive) const override {
    if (problem.ranks != session_->size()) {
      throw InputError(fmt::format("{}: this world has {} ranks", problem.name(), session_->size()));
    }
    run_collective(call_, problem, send, receive);
  }

  std::unique_ptr<World> duplicate() const override {
    if (!session_->threads_allowed()) {
      // Taking turns would not do: two ranks could each hold the turn the other waits for.
      throw EnvironmentError(
          fmt::format("{} does not allow calls from several threads at once (MPI_THREAD_MULTIPLE), "
                      "which communication beside computation needs",
                      session_->library()));
    }
    const InCall inside(*slot_, "MPI_Comm_dup", 0);
    return std::make_unique<MpiWorld>(session_, ranks_.get());
  }

  void on_lost(double deadline_s, std::function<void(const std::string&)> lost) override {
    session_->lifeline().start(deadline_s, std::move(lost));
  }

  void abort(int exit_code) override { MPI_Abort(MPI_COMM_WORLD, exit_code); }

 private:
  std::shared_ptr<Session> session_;
  std::shared_ptr<CallSlot> slot_;
  Communicator ranks_;
  CollectiveCall call_;
};

int count_of(int64_t bytes) {
  if (bytes <= std::numeric_limits<int>::max()) return static_cast<int>(bytes);
  throw InputError(fmt::format("{} bytes of text between ranks: an MPI call counts to 2147483647", bytes));
}

std::string MpiWorld::broadcast(const std::string& text, int root) const {
  const InCall inside(*slot_, "MPI_Bcast", static_cast<int64_t>(text.size()));
  int64_t size = static_cast<int64_t>(text.size());
  FARSCALE_MPI(MPI_Bcast(&size, 1, MPI_INT64_T, root, ranks_.get()));
  std::string out = rank() == root ? text : std::string(static_cast<size_t>(size), '\0');
  FARSCALE_MPI(MPI_Bcast(out.data(), count_of(size), MPI_CHAR, root, ranks_.get()));
  return out;
}

std::vector<std::string> MpiWorld::gather(const std::string& text) const {
  const InCall inside(*slot_, "MPI_Allgatherv", static_cast<int64_t>(text.size()));
  const auto ranks = static_cast<size_t>(size());
  const int mine = count_of(static_cast<int64_t>(text.size()));
  std::vector<int> counts(ranks), offsets(ranks);
  FARSCALE_MPI(MPI_Allgather(&mine, 1, MPI_INT, counts.data(), 1, MPI_INT, ranks_.get()));
  int64_t total = 0;
  for (size_t r = 0; r < ranks; ++r) {
    offsets[r] = count_of(total);
    total += counts[r];
  }
  std::string all(static_cast<size_t>(count_of(total)), '\0');
  FARSCALE_MPI(
      MPI_Allgatherv(text.data(), mine, MPI_CHAR, all.data(), counts.data(), offsets.data(), MPI_CHAR, ranks_.get()));
  std::vector<std::string> texts;
  for (size_t r = 0; r < ranks; ++r)
    texts.push_back(all.substr(static_cast<size_t>(offsets[r]), static_cast<size_t>(counts[r])));
  return texts;
}

std::vector<double> MpiWorld::reduce(std::vector<double> values, Reduction op) const {
  const InCall inside(*slot_, "MPI_Allreduce", static_cast<int64_t>(values.size() * sizeof(double)));
  const MPI_Op ops[] = {MPI_SUM, MPI_MIN, MPI_MAX};
  FARSCALE_MPI(MPI_Allreduce(MPI_IN_PLACE, values.data(), count_of(static_cast<int64_t>(values.size())), MPI_DOUBLE,
                             ops[static_cast<size_t>(op)], ranks_.get()));
  return values;
}

// A thread that waits inside MPI spins. A communication thread shares its core with the rank's computation, and with
// more ranks than cores a rank shares it with the one it waits for: so waiting threads yield. Measured with 2 ranks on
// 2 busy cores, Open MPI 4.1.4: of a step's all-reduces 20 to 60 % of the step were exposed without, under 2 % with
// yielding, and an all-reduce of 64 KiB alone took no longer. MPICH yields every 1000 polls by itself; when crowded at
// every one. Both read this when they start; what the user has set stays.
void yield_when_waiting() {
  ::setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
  const char* ranks_here = std::getenv("MPI_LOCALNRANKS");
  const bool crowded = ranks_here != nullptr && std::atoi(ranks_here) > ::sysconf(_SC_NPROCESSORS_ONLN);
  if (crowded) ::setenv("MPIR_CVAR_POLLS_BEFORE_YIELD", "1", 0);
}

// MPICH's launcher (Hydra 4.0.2, even with -disable-auto-cleanup) sends SIGKILL to the process groups of all other
// ranks the moment one dies: nobody is left to save and to say which it was. scripts/launch therefore starts each rank
// through setsid --wait, out of that reach; this signal tells the rank that its launcher's end of the line is gone.
void end_with_the_launcher() {
#ifdef MPICH_VERSION
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
#endif
}

Maybe<std::unique_ptr<World>> open() {
  using Result = Maybe<std::unique_ptr<World>>;
  int initialized = 0;
  MPI_Initialized(&initialized);
  if (initialized != 0) return Result::absent("MPI was started already in this process");
  yield_when_waiting();
  end_with_the_launcher();
  int threads = MPI_THREAD_SINGLE;
  FARSCALE_MPI(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &threads));
  return Result(std::make_unique<MpiWorld>(std::make_shared<Session>(threads), MPI_COMM_WORLD));
}

}  // namespace
}  // namespace farscale

extern "C" const farscale::WorldModule* farscale_world() {
  static constexpr farscale::WorldModule kModule{
      .version = farscale::WorldModule::kVersion, .name = FARSCALE_MPI_NAME, .open = farscale::open};
  return &kModule;
}
