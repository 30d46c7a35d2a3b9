// The ranks of a run: one process each. A world of one needs no library; the farscale-mpi-*.so modules give the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "kernels/problem.h"

namespace farscale {

enum class Reduction : uint8_t { kSum, kMin, kMax };

// All ranks call the same methods in the same order. Every method blocks until done and throws CallError naming the
// call when the library reports an error; a rank that does not answer within the deadline is reported to on_lost.
class World {
 public:
  virtual ~World() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual int local_rank() const = 0;                  // among the ranks of this host
  virtual std::string library() const = 0;             // "Open MPI 4.1.4", "one process"
  virtual std::vector<std::string> hosts() const = 0;  // host name of each rank

  virtual void barrier() const = 0;
  virtual std::string broadcast(const std::string& text, int root = 0) const = 0;  // root's text, on every rank
  virtual std::vector<std::string> gather(const std::string& text) const = 0;      // each rank's text, on every rank
  virtual std::vector<double> reduce(std::vector<double> values, Reduction op) const = 0;  // elementwise, on every rank

  // One collective on host memory, S = problem.bytes. Sizes of send and receive in bytes: all_reduce S -> S, broadcast
  // S in place (from rank 0), reduce_scatter S -> S/ranks, all_gather S/ranks -> S, all_to_all S -> S, send_recv S ->
  // S. send may equal receive for in-place problems. fp64, fp32, int8 (as int8 sums modulo 256) and bf16 (sums in fp32)
  // are supported.
  virtual void collective(const CollectiveProblem& problem, const void* send, void* receive) const = 0;

  // The same ranks with traffic of their own, so that a communication thread can run beside this one.
  virtual std::unique_ptr<World> duplicate() const = 0;

  // Watch the other ranks: `lost` is called once, from a thread of the world's own, when a rank dies or when a call has
  // made no progress for deadline_s. The process cannot go on after it: the callback should save, say so and end.
  virtual void on_lost(double deadline_s, std::function<void(const std::string& message)> lost) = 0;

  // End every rank at once (MPI_Abort); one process: does nothing.
  virtual void abort(int exit_code) = 0;
};

// A world of this process alone.
std::unique_ptr<World> single_world();

struct WorldModule {
  static constexpr int kVersion = 1;
  int version;
  const char* name;  // "openmpi", "mpich"
  Maybe<std::unique_ptr<World>> (*open)();
};

}  // namespace farscale

extern "C" const farscale::WorldModule* farscale_world();
