// The run so far: records as they come, written to the result file after every case, and saved from another thread when
// the run is cut short.
#pragma once

#include <mutex>
#include <optional>
#include <string>

#include "results/record.h"
#include "results/result_file.h"

namespace farscale {

class RunLog {
 public:
  // `path` is empty on ranks that write nothing. Throws what ResultWriter throws.
  RunLog(Run head, const std::string& path);

  void plan(size_t cases) { planned_ = cases; }
  void add(Record record);  // and write; throws EnvironmentError on a full disk
  void warn(std::string warning);
  void finish();                           // marks the run complete, adds shares of the best GEMM, and writes
  const Run& run() const { return run_; }  // only from the thread that adds
  const std::string& path() const { return path_; }

  // From any thread, when the run ends early: saves with a warning and says what is where, in one sentence. Waits at
  // most two seconds for a write that is going on; never throws.
  std::string cut_short(const std::string& why);

 private:
  void write();

  std::timed_mutex mutex_;
  Run run_;
  std::string path_;
  std::optional<ResultWriter> writer_;
  size_t planned_ = 0;
};

}  // namespace farscale
