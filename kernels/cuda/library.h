// Libraries opened at run time, when the first case needs them: a program that only plans never pays for them, and a
// machine that lacks one gets a reason instead of a program that does not start.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/error.h"

// A function of a library as a member of its table: the lists of names in the libraries' headers go through this.
// NOLINTNEXTLINE(bugprone-macro-parentheses): a name that is declared cannot stand in parentheses
#define FARSCALE_MEMBER(call) decltype(&::call) call = nullptr;

namespace farscale::cuda {

// The seam to dlopen: loader.cc in the real module, fake/loader.cc in the fake one.
struct Loader {
  static void* open(const std::string& soname, std::string& why_not);  // nullptr with the reason
  static void* symbol(void* library, const char* name);                // nullptr when missing
  static void close(void* library) noexcept;
};

// An open library. Kept open until its owner goes: cuBLASLt and NCCL handles must be gone before it.
class Library {
 public:
  // Opens the first of `sonames` that opens. The reason names all of them and what to install.
  static Maybe<std::unique_ptr<Library>> open(const std::vector<std::string>& sonames, const std::string& install);
  Library(void* handle, std::string soname) : handle_(handle), soname_(std::move(soname)) {}

  const std::string& soname() const { return soname_; }

  // The function `name` as the type of `function`. Returns false, and leaves nullptr, when the library lacks it.
  template <typename Function>
  bool find(const char* name, Function& function) const {
    function = reinterpret_cast<Function>(Loader::symbol(handle_.get(), name));
    return function != nullptr;
  }

 private:
  struct Close {
    void operator()(void* handle) const noexcept { Loader::close(handle); }
  };
  std::unique_ptr<void, Close> handle_;
  std::string soname_;
};

}  // namespace farscale::cuda
