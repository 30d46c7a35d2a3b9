// The ranks of a run without MPI: rank 0 listens, the others connect. Further channels to rank 0 are opened the same
// way; the first one only carries who is here, who was lost and who has ended.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kernels/launch.h"
#include "kernels/lifeline.h"
#include "kernels/socket/connection.h"

namespace farscale {

struct Caller;
struct Greeting;
struct News;

// Connections of one channel, a place a rank: rank 0 has one to every other, the others have one to rank 0.
using Channel = std::vector<Connection>;

class Meeting {
 public:
  // Throws EnvironmentError naming the ranks that did not come within `patience_s`, or why this one was sent away.
  Meeting(const Rendezvous& where, double patience_s);
  ~Meeting();  // waits for the others' end; after an error only for a while
  Meeting(const Meeting&) = delete;
  Meeting& operator=(const Meeting&) = delete;

  int rank() const { return where_.rank; }
  int size() const { return where_.size; }
  int local_rank() const { return local_rank_; }
  const std::vector<std::string>& hosts() const { return hosts_; }
  const std::string& described(int rank) const { return names_.at(static_cast<size_t>(rank)); }
  Lifeline& lifeline() const { return *lifeline_; }

  Channel open_channel(const std::string& name);  // every rank together; other threads may open others meanwhile

  void on_lost(double deadline_s, std::function<void(const std::string&)> lost);
  void end_all(int exit_code);  // tells every rank, and ends this process
  // A connection broke: gives the watching thread time to say which rank was lost, which ends the process.
  void wait_for_the_loss_to_be_told() const;

 private:
  void meet();
  void introduce(const std::vector<Greeting>& all);
  Channel gather_ranks(const std::string& name, std::vector<Greeting>& greetings);
  void take_caller();
  std::string refusal(const Greeting& greeting) const;
  std::string missing_of(const std::string& channel) const;
  Connection greet(const std::string& name);

  void watch();
  void look_at(int rank);
  void pass_on(const News& news, int but);
  void act_on(const News& news);
  void tell(const std::string& message, bool from_lifeline);
  bool all_ended() const;  // with the lock
  void part();

  Rendezvous where_;
  double patience_s_;
  int local_rank_ = 0;
  std::vector<std::string> hosts_, names_;
  std::unique_ptr<Lifeline> lifeline_;

  Connection listener_;
  std::mutex opening_;
  std::map<std::string, std::map<int, Caller>> waiting_;  // by channel and rank: who came, until all have

  Channel news_;
  std::mutex sending_;  // of news
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<bool> ended_, gone_;
  bool others_ended_ = false, leaving_ = false, told_ = false;
  std::function<void(const std::string&)> lost_;
  int pipe_[2] = {-1, -1};
  std::thread watcher_;
};

}  // namespace farscale
