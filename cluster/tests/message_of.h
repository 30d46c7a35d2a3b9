// What an input error says, for tests.
#pragma once

#include <string>

#include "kernels/error.h"

namespace farscale {

template <typename Work>
std::string message_of(const Work& work) {
  try {
    work();
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace farscale
