// model.json: what `farscale fit` writes and predict reads.
#pragma once

#include <string>

#include "cluster/machine.h"

namespace farscale {

inline constexpr int kModelSchema = 1;

std::string model_to_json(const Machine::Data& model);
// Throws InputError naming `path` and the place for anything missing, of the wrong type or truncated.
std::shared_ptr<Machine::Data> model_from_json(const std::string& text, const std::string& path);

}  // namespace farscale
