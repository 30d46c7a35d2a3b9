// Files that are whole or absent: a temporary name in the same folder, fsync, and a rename that never replaces what
// somebody else wrote.
#include "results/result_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "kernels/error.h"
#include "results/result_json.h"

namespace farscale {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail_io(const std::string& path, const char* call, int code) {
  const bool full = code == ENOSPC || code == EDQUOT || code == EFBIG;
  throw EnvironmentError(fmt::format("{}: cannot be written: {}{} ({}); what was there before is unchanged", path,
                                     full ? "no space left: " : "", std::strerror(code), call));
}

std::string folder_of(const std::string& path) {
  const fs::path parent = fs::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

bool exists(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0;
}

[[noreturn]] void refuse_existing(const std::string& path) {
  throw InputError(fmt::format("{}: exists already and is never overwritten: '{}' is free", path, free_name(path)));
}

// A file under a temporary name beside its place; removed again unless it was put there.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& path) : target_(path) {
    for (int i = 0; fd_ < 0; ++i) {
      name_ =
          (fs::path(folder_of(path)) / fmt::format(".{}.{}.{}.tmp", fs::path(path).filename().string(), ::getpid(), i))
              .string();
      fd_ = ::open(name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (fd_ < 0 && (errno != EEXIST || i > 99)) {
        const int code = errno;
        name_.clear();
        fail_io(target_, "open", code);
      }
    }
  }
  ~TemporaryFile() {
    if (fd_ >= 0) ::close(fd_);
    if (!name_.empty()) ::unlink(name_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  void write(const std::string& text) {
    for (size_t done = 0; done < text.size();) {
      const ssize_t count = ::write(fd_, text.data() + done, text.size() - done);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail_io(target_, "write", errno);
      done += static_cast<size_t>(count);
    }
    if (::fsync(fd_) != 0) fail_io(target_, "fsync", errno);
    const int fd = fd_;
    fd_ = -1;
    if (::close(fd) != 0) fail_io(target_, "close", errno);
  }

  // Gives the file its name. Without `replace`, a file that is there already stays: link() never replaces, where
  // rename() would.
  void publish(bool replace) {
    if (replace) {
      if (::rename(name_.c_str(), target_.c_str()) != 0) fail_io(target_, "rename", errno);
      name_.clear();
      return;
    }
    if (::link(name_.c_str(), target_.c_str()) == 0) return;  // the destructor removes the temporary name
    if (errno == EEXIST) refuse_existing(target_);
    publish_without_links(errno);
  }

 private:
  // File systems without hard links (FAT, some network mounts): rename where the kernel can promise not to replace.
  void publish_without_links(int link_error) {
    if (link_error != EPERM && link_error != EOPNOTSUPP && link_error != ENOSYS && link_error != EMLINK) {
      fail_io(target_, "link", link_error);
    }
    if (::renameat2(AT_FDCWD, name_.c_str(), AT_FDCWD, target_.c_str(), RENAME_NOREPLACE) != 0) {
      if (errno == EEXIST) refuse_existing(target_);
      fail_io(target_, "renameat2", errno);
    }
    name_.clear();
  }

  std::string target_;
  std::string name_;
  int fd_ = -1;
};

struct Identity {
  dev_t device = 0;
  ino_t inode = 0;
};

}  // namespace

std::string free_name(const std::string& path) {
  fs::path candidate(path);
  const fs::path full = candidate;
  for (int i = 2; exists(candidate.string()); ++i) {
    candidate.replace_filename(fmt::format("{}-{}{}", full.stem().string(), i, full.extension().string()));
  }
  return candidate.string();
}

void write_file(const std::string& path, const std::string& text, bool replace) {
  if (!replace && exists(path)) refuse_existing(path);
  TemporaryFile file(path);
  file.write(text);
  file.publish(replace);
}

ResultWriter::ResultWriter(std::string path) : path_(std::move(path)), machine_(machine_context()) {
  if (exists(path_)) refuse_existing(path_);
  if (!fs::is_directory(folder_of(path_))) {
    throw EnvironmentError(fmt::format("{}: folder '{}' does not exist: create it first", path_, folder_of(path_)));
  }
  TemporaryFile probe(path_);  // the folder takes files: better known before the first measurement than after
}

bool ResultWriter::still_ours() const {
  struct stat info {};
  if (::lstat(path_.c_str(), &info) != 0) return false;
  return inode_ != 0 && info.st_ino == inode_ && info.st_dev == device_;
}

void ResultWriter::write(const Run& run) {
  const std::string text = result_json(run, machine_);
  write_file(path_, text, still_ours());
  struct stat info {};
  if (::lstat(path_.c_str(), &info) == 0) {
    device_ = info.st_dev;
    inode_ = info.st_ino;
  }
}

Run read_result(const std::string& path) { return parse_result(read_text(path), path); }

std::string read_text(const std::string& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) throw InputError(fmt::format("{}: is a folder, expected a file", path));
  std::ifstream file(path, std::ios::binary);
  if (!file) throw InputError(fmt::format("{}: cannot be opened: {}", path, std::strerror(errno)));
  std::ostringstream text;
  text << file.rdbuf();
  if (file.bad()) throw InputError(fmt::format("{}: cannot be read", path));
  return text.str();
}

}  // namespace farscale
