// Layers of a file -> primitives: which keys each op has.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "kernels/strict_toml.h"
#include "workloads/builder.h"
#include "workloads/composites.h"

namespace farscale {

// The state while the layers of a file are read in order.
class LayerReader {
 public:
  explicit LayerReader(Graph& graph) : builder(graph) {}

  // Reads one layer table (with its repeats) under the name `id` and returns its output.
  int read(const TomlTable& table, const std::string& id);
  // Reads the tables under `layers` one after the other.
  int read_sequence(const TomlTable& table, const std::string& id);

  int input(const TomlTable& table);                // the tensor `from` names, or the last one made
  std::vector<int> inputs(const TomlTable& table);  // `from` as a list
  int named(const TomlTable& table, std::string_view key, const std::string& name) const;

  void publish(const std::string& name, int tensor) { names_[name] = tensor; }
  int publish(const std::string& id, const Outputs& outputs);  // the last output

  // Layers made since `begin` take the parameters of those from `owner` on, in order; norms only if `norms`.
  void share(const TomlTable& table, std::pair<size_t, size_t> owner, size_t begin, bool norms);
  // The layers of earlier ids once more, with the same parameters and inputs from outside; outputs are "<id>.<name>".
  int replay(const TomlTable& table, const std::string& id);

  GraphBuilder builder;
  int last = -1;

 private:
  void check_id(const TomlTable& table, const std::string& id) const;
  int read_once(const TomlTable& table, const std::string& op, const std::string& id);

  int chained_ = -1;   // input of the next layer, in place of its `from`: repeats feed themselves
  std::string scope_;  // "encoder.0.": the sequence that is being read
  std::map<std::string, int> names_;
  std::map<std::string, std::pair<size_t, size_t>> ranges_;  // layers [begin, end) of each id
};

// The ops, by name; each reads its keys and appends its layers.
using ReadOp = int (*)(LayerReader& reader, const TomlTable& table, const std::string& id);
struct NamedOp {
  std::string_view name;
  ReadOp read;
};
const std::vector<NamedOp>& primitive_ops();
const std::vector<NamedOp>& composite_ops();

// Shorthand keys `norm` and `activation` after a layer.
int read_norm_and_activation(LayerReader& reader, const TomlTable& table, const std::string& id, int x);
NormKind read_norm_kind(const TomlTable& table, std::string_view key, std::string_view fallback);
ActivationKind read_activation_kind(const TomlTable& table, std::string_view key, std::string_view fallback);

inline constexpr Range kCount{1, 1e9};

}  // namespace farscale
