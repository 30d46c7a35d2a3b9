// Meeting, checking calls, and parting.
#include "kernels/mpi/session.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>
#include <cstring>
#include <exception>
#include <sstream>
#include <thread>

#include "kernels/error.h"
#include "kernels/mpi/calls.h"

namespace farscale {

void fail_mpi(int code, const char* call, const char* file, int line) {
  std::array<char, MPI_MAX_ERROR_STRING + 1> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  throw CallError(fmt::format("{}: {} (code {}) at {}:{}", call, text.data(), code, file, line));
}

namespace {

constexpr double kFarewell_s = 5;

// How one rank introduces itself to the others; sent as bytes between processes of one program.
struct Introduction {
  std::array<char, 256> host{};
  int64_t pid = 0;
  uint64_t start_time = 0;
};

Introduction introduce() {
  Introduction self;
  ::gethostname(self.host.data(), self.host.size() - 1);
  self.pid = ::getpid();
  self.start_time = process_state(static_cast<int>(self.pid)).start_time;
  return self;
}

// "Open MPI 4.1.4" out of "Open MPI v4.1.4, package: ...", "MPICH 4.0.2" out of "MPICH Version:\t4.0.2\n...".
std::string library_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING + 1> text{};
  int length = 0;
  MPI_Get_library_version(text.data(), &length);
  std::istringstream words(std::string(text.data(), std::strcspn(text.data(), "\n,")));
  std::string version;
  for (std::string word; words >> word;) {
    if (word == "Version:") continue;
    const bool number = word.size() > 1 && word[0] == 'v' && std::isdigit(static_cast<unsigned char>(word[1])) != 0;
    if (!version.empty()) version += ' ';
    version += number ? word.substr(1) : word;
  }
  return version;
}

}  // namespace

Communicator::Communicator(MPI_Comm like) { FARSCALE_MPI(MPI_Comm_dup(like, &ranks_)); }

Communicator::~Communicator() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  // Freeing is collective in MPI's words: not while an error unwinds on this rank alone.
  if (finalized == 0 && std::uncaught_exceptions() == 0) MPI_Comm_free(&ranks_);
}

Session::Session(int threads) : threads_(threads) {
  FARSCALE_MPI(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
  FARSCALE_MPI(MPI_Comm_rank(MPI_COMM_WORLD, &rank_));
  FARSCALE_MPI(MPI_Comm_size(MPI_COMM_WORLD, &size_));
  library_ = library_version();
  meet();
  bf16_sum_ = std::make_unique<Bf16Sum>();
  farewell_ = std::make_unique<Communicator>(MPI_COMM_WORLD);
}

void Session::meet() {
  const Introduction self = introduce();
  std::vector<Introduction> all(static_cast<size_t>(size_));
  constexpr int kBytes = sizeof(Introduction);
  FARSCALE_MPI(MPI_Allgather(&self, kBytes, MPI_BYTE, all.data(), kBytes, MPI_BYTE, MPI_COMM_WORLD));
  std::vector<Peer> peers;
  for (int rank = 0; rank < size_; ++rank) {
    const Introduction& other = all[static_cast<size_t>(rank)];
    hosts_.emplace_back(other.host.data());
    peers.push_back({rank, other.host.data(), static_cast<int>(other.pid), other.start_time});
  }
  const auto mine = hosts_.begin() + rank_;
  local_rank_ = static_cast<int>(std::count(hosts_.begin(), mine, *mine));
  lifeline_ = std::make_unique<Lifeline>(rank_, std::move(peers));
}

// True when every rank has come to the end. After an error only for a while: the others may be elsewhere.
bool Session::say_farewell() const {
  const std::shared_ptr<CallSlot> slot = lifeline_->new_slot();
  const InCall inside(*slot, "MPI_Barrier at the end", 0);
  if (std::uncaught_exceptions() == 0) return MPI_Barrier(farewell_->get()) == MPI_SUCCESS;
  MPI_Request request = MPI_REQUEST_NULL;
  if (MPI_Ibarrier(farewell_->get(), &request) != MPI_SUCCESS) return false;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(kFarewell_s);
  int done = 0;
  while (MPI_Test(&request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && done == 0) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return done != 0;
}

// Ends MPI. When an error unwinds here and the other ranks do not end as well, MPI is left as it is: main prints the
// error and exits, and the launcher and the others' lifelines end the run.
Session::~Session() {
  lifeline_->expect_exits();
  const bool together = say_farewell();
  lifeline_->stop();
  if (!together) return;
  bf16_sum_.reset();
  farewell_.reset();
  MPI_Finalize();
  // A launcher ends the others at the first exit code that is not 0: rank 0 gets the time to say why.
  if (std::uncaught_exceptions() > 0 && rank_ != 0) std::this_thread::sleep_for(std::chrono::milliseconds(300));
}

}  // namespace farscale
