// Layouts as text: "dp=512 tp=1 pp=1 mb=1".
#include <fmt/format.h>

#include <charconv>
#include <set>
#include <sstream>

#include "kernels/error.h"
#include "kernels/suggest.h"
#include "workloads/workload.h"

namespace farscale {
namespace {

const std::vector<std::string>& keys() {
  static const std::vector<std::string> kKeys = {"dp",   "tp", "pp",    "cp",         "ep",      "zero",
                                                 "hsdp", "mb", "accum", "interleave", "sync_bn", "ckpt"};
  return kKeys;
}

int64_t value_of(const std::string& word, const std::string& text, int64_t least, int64_t most) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) {
    throw InputError(fmt::format("layout '{}': expected a whole number, as in dp=8", word));
  }
  if (value < least || value > most) {
    throw InputError(fmt::format("layout '{}': expected a number from {} to {}", word, least, most));
  }
  return value;
}

void set(Layout& layout, const std::string& word) {
  const size_t equals = word.find('=');
  if (equals == std::string::npos) {
    throw InputError(fmt::format("layout '{}': expected key=number, as in \"dp=8 tp=2 mb=1\"", word));
  }
  const std::string key = word.substr(0, equals), text = word.substr(equals + 1);
  constexpr int64_t kMost = 100'000'000;
  if (key == "zero") {
    layout.zero_stage = static_cast<int>(value_of(word, text, 0, 3));
    return;
  }
  if (key == "sync_bn") {
    layout.sync_batch_norm = value_of(word, text, 0, 1) == 1;
    return;
  }
  if (key == "ckpt") {
    layout.checkpoint = value_of(word, text, 0, 1) == 1 ? Layout::Checkpoint::kAll : Layout::Checkpoint::kNone;
    return;
  }
  int64_t* field = key == "dp"           ? &layout.dp
                   : key == "tp"         ? &layout.tp
                   : key == "pp"         ? &layout.pp
                   : key == "cp"         ? &layout.cp
                   : key == "ep"         ? &layout.ep
                   : key == "hsdp"       ? &layout.hsdp_shard
                   : key == "mb"         ? &layout.micro_batch
                   : key == "accum"      ? &layout.accumulation
                   : key == "interleave" ? &layout.interleave
                                         : nullptr;
  if (field == nullptr) throw InputError("layout: " + unknown_name("key", key, keys()));
  *field = value_of(word, text, 1, kMost);
}

}  // namespace

std::string Layout::str() const {
  std::string text = fmt::format("dp={} tp={} pp={}", dp, tp, pp);
  if (cp > 1) text += fmt::format(" cp={}", cp);
  if (ep > 1) text += fmt::format(" ep={}", ep);
  if (zero_stage > 0) text += fmt::format(" zero={}", zero_stage);
  if (hsdp_shard > 0) text += fmt::format(" hsdp={}", hsdp_shard);
  if (micro_batch > 0) text += fmt::format(" mb={}", micro_batch);
  if (accumulation > 1) text += fmt::format(" accum={}", accumulation);
  if (interleave > 1) text += fmt::format(" interleave={}", interleave);
  if (sync_batch_norm) text += " sync_bn=1";
  if (checkpoint != Checkpoint::kFile) text += fmt::format(" ckpt={}", checkpoint == Checkpoint::kAll ? 1 : 0);
  return text;
}

Layout parse_layout(const std::string& text, int64_t gpus) {
  Layout layout;
  std::string spaced = text;
  for (char& c : spaced) c = c == ',' ? ' ' : c;
  std::istringstream words(spaced);
  std::set<std::string> given;
  for (std::string word; words >> word;) {
    set(layout, word);
    const std::string key = word.substr(0, word.find('='));
    if (!given.insert(key).second) throw InputError(fmt::format("layout '{}': {} is given twice", text, key));
  }
  // Expert parallelism lives inside data parallelism: its ranks are among dp's.
  const int64_t model = layout.tp * layout.pp * layout.cp;
  if (!given.contains("dp") && gpus > 0) {
    if (gpus % model != 0) {
      throw InputError(fmt::format("layout '{}': tp x pp x cp = {} does not divide {} GPUs", text, model, gpus));
    }
    layout.dp = gpus / model;
  }
  if (gpus > 0 && layout.dp * model != gpus) {
    throw InputError(fmt::format("layout '{}' is for {} GPUs, not {}", text, layout.dp * model, gpus));
  }
  if (layout.dp % layout.ep != 0) {
    throw InputError(fmt::format("layout '{}': ep={} does not divide dp={}", text, layout.ep, layout.dp));
  }
  if (layout.hsdp_shard > 0 && layout.dp % layout.hsdp_shard != 0) {
    throw InputError(fmt::format("layout '{}': hsdp={} does not divide dp={}", text, layout.hsdp_shard, layout.dp));
  }
  if (layout.hsdp_shard > 0 && layout.zero_stage == 0) {
    throw InputError(fmt::format("layout '{}': hsdp= is the size of ZeRO's shards: give zero= too", text));
  }
  if (layout.interleave > 1 && layout.pp == 1) {
    throw InputError(fmt::format("layout '{}': interleave= divides pipeline stages: give pp= too", text));
  }
  return layout;
}

}  // namespace farscale
