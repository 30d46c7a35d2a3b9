// Names of systems, read with regular expressions.
#include "cluster/backtest_fabric.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <regex>

#include "cluster/backtest_table.h"
#include "cluster/machine.h"

namespace farscale {
namespace {

// Gb/s of one node of 8 by the provider's name for it (data sheets of AWS, Google, Microsoft and Oracle).
struct Instance {
  const char* name;
  double gbits;
};
constexpr std::array<Instance, 14> kInstances = {{{"p6-b200", 3200},
                                                  {"p6-b300", 6400},
                                                  {"p5en", 3200},
                                                  {"p5e", 3200},
                                                  {"p5.", 3200},
                                                  {"p4d", 400},
                                                  {"a3 ultra", 3200},
                                                  {"a3 mega", 1600},
                                                  {"a3 high", 800},
                                                  {"a4", 3200},
                                                  {"nd h100", 3200},
                                                  {"nd h200", 3200},
                                                  {"nd a100", 1600},
                                                  {"bm.gpu.h100", 3200}}};

// Cards of one domain that one collective keeps busy, at most: 9 x 50 GB/s carried 426 GB/s between 20 racks of 72
// (CoreWeave), and twice that between two.
constexpr double kBusyCards = 9;

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return char(std::tolower(c)); });
  return text;
}

std::optional<std::smatch> find(const std::string& text, const char* pattern) {
  std::smatch match;
  if (std::regex_search(text, match, std::regex(pattern))) return match;
  return std::nullopt;
}

// Gb/s of one node, by the name; 0 when it does not tell.
double named_gbits(const std::string& text, double gpus_per_node) {
  if (const auto m = find(text, R"((\d+) ?x ?(?:ndr|hdr|edr)?(\d+) ?g)"))
    return std::stod((*m)[1]) * std::stod((*m)[2]);
  if (const auto m = find(text, R"(([\d.]+) ?tbps)")) return 1000 * std::stod((*m)[1]);
  if (const auto m = find(text, R"((\d+) ?gb/s per node)")) return std::stod((*m)[1]);
  for (const auto& [word, gbits] : {std::pair{"xdr", 800.0}, {"ndr", 400.0}, {"hdr", 200.0}, {"edr", 100.0}}) {
    if (text.find(word) != std::string::npos) return gbits * gpus_per_node;
  }
  for (const Instance& instance : kInstances) {
    if (text.find(instance.name) != std::string::npos) return instance.gbits;
  }
  return 0;
}

std::set<std::string> words_of(std::string text) {
  static const std::regex brackets(R"(\([^)]*\))"),
      counts(R"(\b\d+ ?(x|gpus?|nodes?|racks?|nvl\d+)\b|\bx\d+\b|\bnvl\d+\b)"),
      plain(R"(\b(in|on|of|per|with|partitions|node|nodes|racks|rack|gpus|gpu|the|and|between|nvidia|amd|instinct)\b)"),
      gpu(R"(\b(g?[abhv]\d{2,3}|gb\d00|mi\d{3}x?|sxm\d?|hbm\w*|hgx|dgx|nvl|pcie|\d+ ?gb)\b)");
  text = std::regex_replace(text, brackets, " ");
  text = std::regex_replace(text, counts, " ");
  text = std::regex_replace(text, gpu, " ");
  text = std::regex_replace(text, plain, " ");
  std::set<std::string> words;
  std::string word;
  for (const char c : text + " ") {
    if (std::isalnum(static_cast<unsigned char>(c)) || c == '.') {
      word += c;
    } else if (!word.empty()) {
      const bool letters = std::any_of(word.begin(), word.end(), [](unsigned char d) { return std::isalpha(d); });
      if (letters) words.insert(word);
      word.clear();
    }
  }
  return words;
}

}  // namespace

bool Fabric::same_network(const Fabric& other) const {
  const auto common = std::count_if(words.begin(), words.end(), [&](auto& word) { return other.words.contains(word); });
  const auto all = ptrdiff_t(words.size() + other.words.size()) - common;
  return gpu == other.gpu && (all == 0 || double(common) >= 0.6 * double(all));
}

std::string Fabric::key() const {
  std::string text = gpu;
  for (const std::string& word : words) text += " " + word;
  return text;
}

std::string shipped_hardware_like(const std::string& hardware) {
  const std::string family = lower(hardware.substr(0, hardware.find(' ')));
  const std::string memory = fmt::format("-{}gb", hardware.substr(hardware.rfind(' ') + 1));
  const bool pcie = hardware.find("PCIe") != std::string::npos;
  std::string best;
  int most = -1;
  for (const std::string& shipped : shipped_hardware()) {
    if (!shipped.starts_with(family) || (shipped.size() > family.size() && shipped[family.size()] != '-')) continue;
    const int alike = 2 * ((shipped.find("pcie") != std::string::npos) == pcie) + shipped.ends_with(memory);
    if (alike > most) best = shipped, most = alike;
  }
  return best;
}

Fabric fabric_of(const std::string& system, int64_t gpus_per_node) {
  const std::string text = lower(system);
  Fabric fabric;
  fabric.words = words_of(text);
  const std::string hardware = normalised_hardware(system);
  fabric.gpu = hardware.substr(0, hardware.rfind(' '));
  fabric.domain = gpus_per_node;
  const auto told = find(text, R"(nvl(\d+))");
  if (told) fabric.domain = std::stoll((*told)[1]);
  fabric.software_transport = text.find("efa") != std::string::npos || text.find("tcpx") != std::string::npos;
  fabric.boosted = !fabric.gpu.starts_with("MI");
  const double named = named_gbits(text, double(gpus_per_node)) * 1e9 / 8 / double(gpus_per_node);
  fabric.named_rate = named > 0;
  constexpr double kUnknownCard =
      50e9;  // a GPU nobody described and no rate in the name: assumption, a card of 400 Gb/s
  double card = fabric.named_rate ? named : kUnknownCard;
  if (const std::string shipped = shipped_hardware_like(hardware); !shipped.empty()) {
    const Machine::Data machine = load_hardware(shipped).data();
    const CollectiveConstants& c = machine.collectives;
    constexpr int64_t kNode = 8;  // larger domains span nodes: racks
    if (!told && machine.scale_up_domain > kNode) fabric.domain = machine.scale_up_domain;
    const Quantity& share = machine.reduces_in_switch ? c.switch_share : c.ring_share;
    fabric.in_domain_bytes_per_s = machine.scale_up_bytes_per_s.value.p50 * share.value.p50;
    if (!fabric.named_rate) card = machine.nic_bytes_per_s.value.p50;
  }
  fabric.domain_bytes_per_s = card * std::min(double(fabric.domain), kBusyCards);
  return fabric;
}

}  // namespace farscale
