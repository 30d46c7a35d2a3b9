// Result files: a Run written as a Google Benchmark JSON document (context + one benchmarks[] row a repetition, plus
// our `farscale` keys), and read back. Written after every case through a temporary name and a rename; never
// overwritten.
#pragma once

#include <sys/types.h>

#include <string>

#include "results/record.h"
#include "results/result_json.h"

namespace farscale {

// Holds the name of a result file for one run. The constructor fails with InputError when `path` exists already (the
// message offers a free name) and EnvironmentError when its folder cannot be written.
class ResultWriter {
 public:
  explicit ResultWriter(std::string path);
  // Replaces this run's own file with the run so far; throws EnvironmentError on a full disk, earlier content intact,
  // and InputError when somebody else put a file in its place meanwhile.
  void write(const Run& run);
  const std::string& path() const { return path_; }

 private:
  bool still_ours() const;

  std::string path_;
  MachineContext machine_;  // as it was at the start
  dev_t device_ = 0;        // the file we wrote last
  ino_t inode_ = 0;
};

// Reads a result file of ours. Throws InputError naming file and place for missing, truncated or foreign files.
Run read_result(const std::string& path);

// The whole file. Throws InputError when it is missing, a folder or unreadable.
std::string read_text(const std::string& path);

// Writes `text` to `path` through a temporary file in the same folder and a rename, without ever replacing an existing
// file unless `replace`. Throws InputError (exists) or EnvironmentError (cannot write, disk full: says so).
void write_file(const std::string& path, const std::string& text, bool replace = false);

// `path` when nothing is there; otherwise the first of "run-2.json", "run-3.json", … that is free.
std::string free_name(const std::string& path);

}  // namespace farscale
