// Messages and collectives over a star: every rank talks with rank 0, which computes and answers. Exact and simple; its
// bandwidth is that of rank 0's link shared by all ranks.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/lifeline.h"
#include "kernels/problem.h"
#include "kernels/socket/meeting.h"

namespace farscale {

class Star {
 public:
  Star(Meeting& meeting, Channel channel);

  int rank() const { return meeting_.rank(); }
  int size() const { return meeting_.size(); }

  // Rank 0 gets what every rank gave (itself included); the others get nothing.
  std::vector<std::string> collect(const char* call, const std::string& own) const;
  // Every rank gets the text rank 0 has for all; of rank 0 its own.
  std::string deliver(const char* call, const std::string& text) const;
  // One text, from a rank to rank 0.
  std::string bring(const char* call, const std::string& text, int from) const;

  // Bytes whose number both sides know: between rank 0 and another.
  void send(int to, const void* data, int64_t bytes) const;
  void receive(int from, void* data, int64_t bytes) const;

 private:
  void send_text(const char* call, int to, const std::string& text) const;
  std::string receive_text(const char* call, int from) const;
  const Connection& link(int other) const { return channel_[rank() == 0 ? static_cast<size_t>(other) : 0]; }
  template <typename Move>
  void move(const std::vector<std::string>& names, int other, int64_t bytes, Move&& move) const;

  Meeting& meeting_;
  Channel channel_;
  std::shared_ptr<CallSlot> slot_;
  std::vector<std::string> sending_to_, receiving_from_;  // by rank: what a deadline says
};

// As World::collective(), for every type that has a form in host memory; sums are added in fp64 and rounded once.
void run_collective(const Star& star, const CollectiveProblem& problem, const void* send, void* receive);

}  // namespace farscale
