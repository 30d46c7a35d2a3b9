// Running the real program from tests: output, exit code, and processes that are to be killed.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace farscale {

struct Finished {
  int code = -1;  // exit code; 128 + signal when killed
  std::string out, err;
};

// A folder of its own that is removed again; commands run in it.
class Workplace {
 public:
  Workplace();
  ~Workplace();
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;

  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  void write(const std::string& name, const std::string& text) const;
  std::vector<std::string> files() const;  // names, sorted

  // Runs a shell command with build/farscale as $farscale; at most `limit_s` seconds.
  Finished run(const std::string& command, int limit_s = 60) const;

  // Starts it in the background (output to NAME.out and NAME.err); `exec` in the command keeps the process id.
  pid_t start(const std::string& command, const std::string& name) const;
  Finished wait(pid_t process, const std::string& name, int limit_s = 60) const;

 private:
  std::string folder_;
};

// Waits until the condition holds; false after `limit_s`.
bool eventually(bool (*condition)(const std::string&), const std::string& argument, double limit_s = 30);

bool has_program(const std::string& name);  // on PATH

}  // namespace farscale
