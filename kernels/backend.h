// The backend table: what a measuring module (farscale-host.so, farscale-cuda.so) offers, and the one C entry through
// which it is opened. bench/ drives these interfaces and knows no library behind them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "kernels/problem.h"
#include "kernels/world.h"

namespace farscale {

// What is here, as printable facts from an allow-list: {"blas", "OpenBLAS 0.3.21"}, {"blas_core", "Haswell"}, …
using Facts = std::map<std::string, std::string>;

struct DeviceReport {
  std::string backend;                // "host", "cuda"
  std::string name;                   // "AMD EPYC 9B45, 2 cores", "NVIDIA H100 80GB HBM3"
  double memory_bytes = 0;            // capacity a case may use
  double cache_bytes = 0;             // last-level cache: cold cases rotate buffers beyond it
  Facts facts;                        // versions, core types, clocks
  std::vector<std::string> warnings;  // "OpenBLAS picked Haswell on a Zen 5: set OPENBLAS_CORETYPE=SkylakeX", …
};

enum class InputData : uint8_t { kNormal, kZeros, kConstant };

// Device memory that operations of one step lay their operands over, instead of each holding its own.
class Arena {
 public:
  virtual ~Arena() = default;
  virtual double bytes() const = 0;
};

struct OperationSettings {
  InputData data = InputData::kNormal;
  uint64_t seed = 1;
  bool cold = true;              // rotate operands through more than the last-level cache
  const World* world = nullptr;  // the ranks a collective runs over; the caller keeps it alive
  bool graph = false;            // replayed from a graph recorded once, where the device has such a thing
  bool registered = false;       // collectives: buffers the library knows beforehand
  int most_ctas = 0;             // collectives: SMs the library may take; 0: its own choice
  const Arena* arena = nullptr;  // products: operands are views into this; the caller keeps it alive
};

// A result held against its reference.
struct Verdict {
  bool correct = false;
  double worst_error = 0;  // largest error seen, in units of the bound's scale
  double bound = 0;        // what was allowed
  std::string detail;      // "compared with fp64 reference, all 1048576 entries" or where it went wrong
};

class Queue;

// A problem made ready on one device: buffers, descriptors and plan exist, nothing is allocated while it runs.
class Operation {
 public:
  virtual ~Operation() = default;
  virtual Verdict verify() = 0;  // runs once and compares; every rank of a collective calls it together
  // A cheap look, between samples, at whether results are still what verify() saw; nothing where there is none.
  virtual std::optional<Verdict> recheck() { return std::nullopt; }
  virtual void run(Queue& queue) = 0;           // one run: done on return (host compute) or enqueued (threads, streams)
  virtual Facts details() const { return {}; }  // algorithm, tile, workspace, buffers rotated, threads …
};

// A point in one queue that another can wait for. Reusable: record again to move it.
class Event {
 public:
  virtual ~Event() = default;
};

// An in-order list of work on the device: a CUDA stream, or on the host the calling thread (compute) or a thread of its
// own (communication: it progresses while compute runs).
class Queue {
 public:
  virtual ~Queue() = default;
  virtual void record(Event& event) = 0;    // event becomes true once all earlier work of this queue is done
  virtual void wait_for(Event& event) = 0;  // later work of this queue starts after the event's last record()
  virtual void synchronize() = 0;           // returns when all work is done; rethrows what a run threw
};

// kInput: copies from the host's memory into the device's, beside the other two.
enum class QueueRole : uint8_t { kCompute, kCommunication, kInput };

// Work recorded once, on a queue and on those that wait for it and are waited for again, and launched as one.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void launch(Queue& queue) = 0;
};

// Clock, power, temperature and throttle reasons now; empty where the backend cannot tell.
using Telemetry = std::map<std::string, double>;

class Backend {
 public:
  virtual ~Backend() = default;
  virtual DeviceReport device() const = 0;
  // The reason instead of an operation when the type is not supported here or the problem does not fit.
  virtual Maybe<std::unique_ptr<Operation>> prepare(const Problem& problem, const OperationSettings& settings) = 0;
  virtual std::unique_ptr<Queue> open_queue(QueueRole role) = 0;
  virtual std::unique_ptr<Event> make_event() = 0;
  // Seconds for `runs` runs back to back on the queue, from start to done, by the device's best clock.
  virtual double time_s(Operation& operation, Queue& queue, int64_t runs) = 0;
  virtual Telemetry telemetry() { return {}; }

  // A copy of `bytes` of input from staging memory of the host to the device.
  virtual Maybe<std::unique_ptr<Operation>> prepare_input(int64_t /*bytes*/) {
    return Maybe<std::unique_ptr<Operation>>::absent("this backend copies no inputs");
  }
  // Memory for the products among `problems`: as large as the largest needs, however many there are.
  virtual Maybe<std::unique_ptr<Arena>> make_arena(const std::vector<Problem>& /*problems*/) {
    return Maybe<std::unique_ptr<Arena>>::absent("operations of this backend hold their own memory");
  }
  // Records what `enqueue` puts on `queue`, and on queues that wait for it, without running it.
  virtual Maybe<std::unique_ptr<Recording>> record_graph(Queue& /*queue*/, const std::function<void()>& /*enqueue*/) {
    return Maybe<std::unique_ptr<Recording>>::absent("this backend has no graphs");
  }
};

// What one farscale-<name>.so answers. `open` gives the backend or the reason why this machine has none.
struct BackendModule {
  static constexpr int kVersion = 1;
  int version;                                            // must equal kVersion
  const char* name;                                       // "host", "cuda"
  Maybe<std::unique_ptr<Backend>> (*open)(World& world);  // the world outlives the backend
};

}  // namespace farscale

// Every backend module exports exactly this.
extern "C" const farscale::BackendModule* farscale_backend();
