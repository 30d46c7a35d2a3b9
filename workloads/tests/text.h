// Small workload files as text, for tests.
#pragma once

#include <fmt/format.h>

#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "kernels/module.h"
#include "workloads/graph.h"
#include "workloads/read.h"

namespace farscale {

// A file of `layers` (TOML) on images of `size` x `size`.
inline Workload vision(const std::string& layers, int64_t size = 224, const std::string& more = "") {
  return parse_workload(
      fmt::format("name = \"t\"\nprovenance = \"proxy\"\nsources = [\"test\"]\n{}\n[inputs]\nheight = {}\n"
                  "width = {}\n{}",
                  more, size, size, layers),
      "t.toml");
}

// The same on a sequence of tokens.
inline Workload language(const std::string& layers, int64_t tokens, const std::string& more = "") {
  return parse_workload(
      fmt::format("name = \"t\"\nprovenance = \"proxy\"\nsources = [\"test\"]\n{}\n[inputs]\ntokens = {}\n{}", more,
                  tokens, layers),
      "t.toml");
}

// A shipped file with parts changed and without its expectations.
using Changes = std::vector<std::pair<std::string, std::string>>;
inline Workload changed(const std::string& name, const Changes& changes) {
  std::ifstream file(data_folder("workloads") + "/" + name + ".toml");
  std::ostringstream text;
  text << file.rdbuf();
  std::string all = text.str();
  for (const auto& [part, other] : changes) {
    const size_t at = all.find(part);
    if (at == std::string::npos) throw std::runtime_error(name + " has no " + part);
    all.replace(at, part.size(), other);
  }
  return parse_workload(all.substr(0, all.find("[expect]")), name);
}

// Global pooling and a classifier over 1000 classes.
inline std::string classifier() {
  return "[[layer]]\nid = \"pool\"\nop = \"pool\"\nkind = \"global\"\n[[layer]]\nid = \"fc\"\nop = \"linear\"\nout = "
         "1000\n";
}

inline Workload regnet(const std::string& keys) {
  return vision("[[layer]]\nid = \"b\"\nop = \"regnet\"\nsqueeze = 0.25\n" + keys + classifier());
}
inline Workload regnet_y_8gf() { return regnet("depth=17\nw0=192\nwa=76.82\nwm=2.19\ngroup_width=56\n"); }
inline Workload regnet_y_16gf() { return regnet("depth=18\nw0=200\nwa=106.23\nwm=2.48\ngroup_width=112\n"); }
inline Workload regnet_y_32gf() { return regnet("depth=20\nw0=232\nwa=115.89\nwm=2.53\ngroup_width=232\n"); }

inline Workload resnext(const std::string& depths, int groups, int base_width) {
  return vision(fmt::format("[[layer]]\nid = \"b\"\nop = \"resnet\"\ndepths = {}\ngroups = {}\nbase_width = {}\n",
                            depths, groups, base_width) +
                classifier());
}

inline LoweredStep lowered(const Workload& workload, const std::string& layout, bool fused = true) {
  LoweringOptions options;
  options.layout = parse_layout(layout, 0);
  options.fused = fused;
  return lower(workload, options);
}

}  // namespace farscale
