// `farscale predict --collective`: one collective of a fitted machine at several sizes and numbers of ranks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace farscale {

struct CollectiveQuestion {
  std::string model;  // file of farscale fit
  std::string kind;   // "all_reduce"
  std::vector<int64_t> bytes;
  std::vector<int64_t> ranks;
  std::string network;  // parse_ring_network()
  bool as_json = false;
};

// Prints a table or one JSON document; throws InputError when the model has no records of this collective.
void predict_collective(const CollectiveQuestion& question);

}  // namespace farscale
