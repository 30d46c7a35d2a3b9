// Megatron-LM's pipeline schedules, plain 1F1B and interleaved, played unit by unit: what closed forms are held to.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

namespace farscale {

// Seconds of one micro-batch on one stage, and of one message between stages; `chunks` of a stage share the work.
struct PlayedPipeline {
  int64_t stages = 1, chunks = 1, micro_batches = 1;
  double forward_s = 0, backward_s = 0, forward_message_s = 0, backward_message_s = 0;
};

// One chunk of one micro-batch in one direction.
struct PipelineUnit {
  bool forward = true;
  int64_t micro_batch = 0, chunk = 0;
};

// What a stage does, in order: forward until the pipeline is full, one backward for each forward, the rest backward.
// Chunks take turns after as many micro-batches as there are stages.
inline std::vector<PipelineUnit> stage_order(const PlayedPipeline& p, int64_t stage) {
  const int64_t turn = p.stages * p.chunks, units = p.micro_batches * p.chunks;
  const auto unit = [&](int64_t k, bool forward) {
    if (p.chunks == 1) return PipelineUnit{forward, k, 0};
    const int64_t chunk = k % turn / p.stages;
    return PipelineUnit{forward, k / turn * p.stages + k % p.stages, forward ? chunk : p.chunks - 1 - chunk};
  };
  int64_t ahead = p.stages - stage - 1;
  if (p.chunks > 1) ahead = p.micro_batches == p.stages ? units : 2 * ahead + (p.chunks - 1) * p.stages;
  ahead = std::min(ahead, units);
  std::vector<PipelineUnit> order;
  for (int64_t k = 0; k < units + ahead; ++k) {
    if (k < units) order.push_back(unit(k, true));
    if (k >= ahead) order.push_back(unit(k - ahead, false));
  }
  return order;
}

// Seconds until the last unit is done. A stage sends one message at a time.
class PipelinePlayer {
 public:
  explicit PipelinePlayer(const PlayedPipeline& pipeline)
      : p_(pipeline), done_(size_t(p_.stages)), free_at_(size_t(p_.stages)), sent_at_(size_t(p_.stages)) {
    for (int64_t stage = 0; stage < p_.stages; ++stage) orders_.push_back(stage_order(p_, stage));
  }

  double run() {
    for (int64_t stage = next(); stage >= 0; stage = next()) play(stage);
    return *std::max_element(free_at_.begin(), free_at_.end());
  }

 private:
  using Key = std::tuple<bool, int64_t, int64_t, int64_t>;  // forward, micro-batch, chunk, stage

  // Seconds at which a stage may begin its next unit; infinite while that waits for another stage, or is none.
  double begin(int64_t stage) const {
    const auto s = size_t(stage);
    if (done_[s] == orders_[s].size()) return INFINITY;
    const PipelineUnit& unit = orders_[s][done_[s]];
    if (unit.forward && stage == 0 && unit.chunk == 0) return free_at_[s];
    const auto arrived = arrived_.find({unit.forward, unit.micro_batch, unit.chunk, stage});
    return arrived == arrived_.end() ? INFINITY : std::max(free_at_[s], arrived->second);
  }

  // The stage that begins first; -1 when all is done.
  int64_t next() const {
    int64_t first = -1;
    double least = INFINITY;
    for (int64_t stage = 0; stage < p_.stages; ++stage) {
      if (begin(stage) < least) least = begin(stage), first = stage;
    }
    return first;
  }

  void play(int64_t stage) {
    const auto s = size_t(stage);
    const PipelineUnit unit = orders_[s][done_[s]];
    free_at_[s] = begin(stage) + (unit.forward ? p_.forward_s : p_.backward_s) / double(p_.chunks);
    ++done_[s];
    const int64_t last = unit.forward ? p_.stages - 1 : 0, way = unit.forward ? 1 : -1;
    const int64_t chunk = unit.chunk + (stage == last ? way : 0);
    if (chunk == p_.chunks) {  // the loss: backward begins where forward ended
      arrived_[{false, unit.micro_batch, unit.chunk, stage}] = free_at_[s];
    } else if (chunk >= 0) {
      sent_at_[s] = std::max(sent_at_[s], free_at_[s]) + (unit.forward ? p_.forward_message_s : p_.backward_message_s);
      arrived_[{unit.forward, unit.micro_batch, chunk, stage == last ? p_.stages - 1 - last : stage + way}] =
          sent_at_[s];
    }
  }

  const PlayedPipeline p_;
  std::vector<std::vector<PipelineUnit>> orders_;
  std::vector<size_t> done_;
  std::vector<double> free_at_, sent_at_;
  std::map<Key, double> arrived_;
};

inline double played(const PlayedPipeline& pipeline) { return PipelinePlayer(pipeline).run(); }

}  // namespace farscale
