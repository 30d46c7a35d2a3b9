// fork, exec, wait.
#include "bench/tests/program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <thread>

namespace farscale {
namespace {

namespace fs = std::filesystem;

std::string read_all(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void redirect(const std::string& path, int descriptor) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (file >= 0) ::dup2(file, descriptor);
}

}  // namespace

Workplace::Workplace() {
  std::string name = (fs::temp_directory_path() / "farscale-bench-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no folder for the test: " + name);
  folder_ = name;
}

Workplace::~Workplace() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

void Workplace::write(const std::string& name, const std::string& text) const { std::ofstream(path(name)) << text; }

std::vector<std::string> Workplace::files() const {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder_)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

pid_t Workplace::start(const std::string& command, const std::string& name) const {
  const pid_t process = ::fork();
  if (process != 0) return process;
  ::setsid();  // a group of its own: whatever it starts can be ended with it
  if (::chdir(folder_.c_str()) != 0) ::_exit(127);
  redirect(path(name + ".out"), 1);
  redirect(path(name + ".err"), 2);
  ::setenv("farscale", FARSCALE_BINARY_DIR "/farscale", 1);
  ::execl("/bin/bash", "bash", "-c", command.c_str(), nullptr);
  ::_exit(127);
}

Finished Workplace::wait(pid_t process, const std::string& name, int limit_s) const {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(limit_s);
  int status = 0;
  while (::waitpid(process, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > end) ::kill(-process, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return {code, read_all(path(name + ".out")), read_all(path(name + ".err"))};
}

Finished Workplace::run(const std::string& command, int limit_s) const {
  Finished finished = wait(start(command, ".run"), ".run", limit_s);
  fs::remove(path(".run.out"));
  fs::remove(path(".run.err"));
  return finished;
}

bool eventually(bool (*condition)(const std::string&), const std::string& argument, double limit_s) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(limit_s);
  while (!condition(argument)) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

bool has_program(const std::string& name) {
  return std::system(("command -v " + name + " > /dev/null 2>&1").c_str()) == 0;
}

}  // namespace farscale
