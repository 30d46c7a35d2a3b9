// The list command: what is shipped, with one line on each.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cluster/commands.h"
#include "cluster/machine.h"
#include "kernels/format.h"
#include "kernels/module.h"

namespace farscale {
namespace {

struct Item {
  std::string name;
  std::string description;
  std::string evidence;
};

std::vector<Item> list_workloads() {
  std::vector<Item> items;
  for (const std::string& name : shipped_workloads()) {
    const Workload workload = load_workload(name);
    items.push_back({name,
                     fmt::format("{} parameters, {} to train on one {}", format_si(double(workload.parameters()), ""),
                                 format_si(workload.training_flops_per_sample(), "FLOP"), workload.sample_unit()),
                     workload.provenance()});
  }
  return items;
}

std::vector<Item> list_hardware() {
  std::vector<Item> items;
  for (const std::string& name : shipped_hardware()) {
    const Machine machine = load_hardware(name);
    const Machine::Data& data = machine.data();
    const auto rate = data.flops_per_s.find(data.training_type);
    items.push_back(
        {name,
         fmt::format("{}: {} {}, {} at {}, domain of {}", data.title, format_si(rate->second.value.p50, "FLOP/s"),
                     farscale::name(data.training_type), format_si(data.memory_bytes.value.p50, "B"),
                     format_si(data.memory_bytes_per_s.value.p50, "B/s"), data.scale_up_domain),
         std::string(farscale::name(rate->second.evidence))});
  }
  return items;
}

// First comment line of a plan: what it is.
std::string first_comment(const std::filesystem::path& path) {
  std::ifstream file(path);
  for (std::string text; std::getline(file, text);) {
    if (text.starts_with("#")) return text.substr(text.find_first_not_of("# "));
    if (!text.empty()) break;
  }
  return "";
}

std::vector<Item> list_plans() {
  std::vector<Item> items;
  for (const auto& entry : std::filesystem::directory_iterator(data_folder("cluster/plans"))) {
    if (entry.path().extension() != ".toml") continue;
    items.push_back({entry.path().stem().string(), first_comment(entry.path()), "see the file's sources"});
  }
  std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) { return a.name < b.name; });
  return items;
}

void print_items(const std::string& what, const std::vector<Item>& items, bool as_json) {
  if (as_json) {
    nlohmann::json document = {{what, nlohmann::json::array()}};
    for (const Item& item : items) {
      document[what].push_back({{"name", item.name}, {"description", item.description}, {"evidence", item.evidence}});
    }
    fmt::print("{}\n", document.dump(1));
    return;
  }
  TextTable table({"name", "what it is", "evidence"});
  for (const Item& item : items) table.add({item.name, item.description, item.evidence});
  fmt::print("{}", table.str());
}

}  // namespace

void add_list_command(CLI::App& app, ExitCode&) {
  struct Arguments {
    std::string what;
    bool as_json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("list", "what is shipped: workloads, hardware, plans");
  command->footer("example: farscale list hardware");
  command->add_option("what", arguments->what, "workloads, hardware or plans")
      ->required()
      ->check(CLI::IsMember({"workloads", "hardware", "plans"}));
  command->add_flag("--json", arguments->as_json, "one JSON document on stdout");
  command->callback([arguments] {
    const std::string& what = arguments->what;
    print_items(what,
                what == "workloads"  ? list_workloads()
                : what == "hardware" ? list_hardware()
                                     : list_plans(),
                arguments->as_json);
  });
}

}  // namespace farscale
