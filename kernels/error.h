// Errors as values of meaning: every thrown error carries the exit code the front door returns for it.
// Libraries throw; only farscale.cc catches.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace farscale {

enum class ExitCode : int {
  kOk = 0,
  kFailedCase = 1,   // a case failed, was wrong or regressed
  kBadInput = 2,     // usage or bad input
  kEnvironment = 3,  // the environment cannot do it
};

class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

// A file, a flag or a name that a person can correct. The message names the place, what was expected and the nearest
// valid name: use unknown_name() below or StrictToml.
struct InputError : Error {
  explicit InputError(const std::string& message) : Error(ExitCode::kBadInput, message) {}
};

// Something this machine lacks: a driver, a library, disk space, a launcher.
struct EnvironmentError : Error {
  explicit EnvironmentError(const std::string& message) : Error(ExitCode::kEnvironment, message) {}
};

// A call that should have worked and did not: carries the call's text, its code and the place.
struct CallError : Error {
  explicit CallError(const std::string& message) : Error(ExitCode::kFailedCase, message) {}
};

// A value, or the reason why there is none: expected absences (no GPU, type not supported, too big) are not errors.
template <typename T>
class Maybe {
 public:
  Maybe(T value) : value_(std::move(value)), has_value_(true) {}  // NOLINT(google-explicit-constructor)
  static Maybe absent(const std::string& reason) {
    Maybe none;
    none.reason_ = reason;
    return none;
  }
  explicit operator bool() const { return has_value_; }
  T& operator*() { return value_; }
  const T& operator*() const { return value_; }
  T* operator->() { return &value_; }
  const T* operator->() const { return &value_; }
  const std::string& reason() const { return reason_; }

 private:
  Maybe() = default;
  T value_{};
  bool has_value_ = false;
  std::string reason_;
};

}  // namespace farscale
