// Writing and reading model.json.
#include "cluster/model_file.h"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "kernels/error.h"

namespace farscale {
namespace {

using nlohmann::json;

json write(const Quantity& q) {
  return {{"low", q.value.p05},
          {"value", q.value.p50},
          {"high", q.value.p95},
          {"evidence", std::string(name(q.evidence))},
          {"source", q.source}};
}

json write(const GemmPoint& point) {
  const GemmProblem& g = point.gemm;
  return {{"m", g.m},
          {"n", g.n},
          {"k", g.k},
          {"batch", g.batch},
          {"transposed", {g.transpose_a ? 1 : 0, g.transpose_b ? 1 : 0}},
          {"time_s", point.time_s}};
}

json write(const GemmFit& fit) {
  json points = json::array();
  for (const GemmPoint& point : fit.points) points.push_back(write(point));
  return {{"launch_s", fit.launch_s},
          {"s_per_flop", fit.s_per_flop},
          {"s_per_byte", fit.s_per_byte},
          {"log_sigma", fit.log_sigma},
          {"fitted_flops", {fit.least_flops, fit.most_flops}},
          {"records", fit.records},
          {"multiprocessors", fit.multiprocessors},
          {"points", points}};
}

json write(const CollectiveFit& fit) {
  return {{"steps", fit.ring ? "ring" : "tree"},
          {"base_s", fit.base_s},
          {"latency_s", fit.hop_s},
          {"from_bytes", fit.from_bytes},
          {"s_per_byte", fit.s_per_byte},
          {"log_sigma", fit.log_sigma},
          {"relative_error", fit.relative_error},
          {"covariance", fit.covariance},
          {"fitted_ranks", {fit.least_ranks, fit.most_ranks}},
          {"fitted_bytes", {fit.least_bytes, fit.most_bytes}},
          {"records", fit.records}};
}

// A place in the document, so that every error can say where.
class Place {
 public:
  Place(const json& node, std::string file, std::string path)
      : node_(node), file_(std::move(file)), path_(std::move(path)) {}
  [[noreturn]] void fail(const std::string& message) const {
    throw InputError(fmt::format("{}: {}: {}; write it anew with `farscale fit`", file_, path_, message));
  }
  Place at(const std::string& key) const {
    if (!node_.is_object()) fail("expected a table");
    if (!node_.contains(key)) Place(node_, file_, path_ + "/" + key).fail("is missing");
    return Place(node_.at(key), file_, path_ + "/" + key);
  }
  bool has(const std::string& key) const { return node_.is_object() && node_.contains(key); }
  double number() const {
    if (!node_.is_number()) fail("expected a number");
    return node_.get<double>();
  }
  std::string text() const {
    if (!node_.is_string()) fail("expected text");
    return node_.get<std::string>();
  }
  std::vector<double> numbers() const {
    if (!node_.is_array()) fail("expected a list of numbers");
    std::vector<double> all;
    for (const json& one : node_) all.push_back(Place(one, file_, path_).number());
    return all;
  }
  std::vector<Place> list() const {
    if (!node_.is_array()) fail("expected a list");
    std::vector<Place> all;
    for (size_t i = 0; i < node_.size(); ++i) all.emplace_back(node_[i], file_, fmt::format("{}/{}", path_, i));
    return all;
  }
  std::vector<std::pair<std::string, Place>> entries() const {
    if (!node_.is_object()) fail("expected a table");
    std::vector<std::pair<std::string, Place>> all;
    for (const auto& [key, value] : node_.items()) all.emplace_back(key, Place(value, file_, path_ + "/" + key));
    return all;
  }

 private:
  const json& node_;
  std::string file_, path_;
};

Evidence parse_evidence(const Place& place) {
  const std::string text = place.text();
  for (const Evidence evidence :
       {Evidence::kMeasured, Evidence::kPublished, Evidence::kDataSheet, Evidence::kAssumed}) {
    if (text == name(evidence)) return evidence;
  }
  place.fail(fmt::format("expected measured, published, data sheet or assumed, not '{}'", text));
}

Quantity read_quantity(const Place& place) {
  return {{place.at("low").number(), place.at("value").number(), place.at("high").number()},
          parse_evidence(place.at("evidence")),
          place.at("source").text()};
}

GemmPoint read_point(const Place& place, NumberType type) {
  const std::vector<double> transposed = place.at("transposed").numbers();
  if (transposed.size() != 2) place.fail("expected transposed = [a, b]");
  const auto size = [&](const char* key) {
    const double value = place.at(key).number();
    if (value < 1 || value > 1e12) place.at(key).fail("expected a size of at least 1");
    return int64_t(value);
  };
  GemmPoint point{{.m = size("m"), .n = size("n"), .k = size("k"), .batch = size("batch"), .type = type},
                  place.at("time_s").number()};
  point.gemm.transpose_a = transposed[0] != 0, point.gemm.transpose_b = transposed[1] != 0;
  if (point.time_s <= 0) place.at("time_s").fail("expected a time above 0");
  return point;
}

GemmFit read_gemm(const Place& place, NumberType type) {
  const std::vector<double> flops = place.at("fitted_flops").numbers();
  if (flops.size() != 2) place.fail("expected fitted_flops = [least, most]");
  std::vector<GemmPoint> points;
  if (place.has("points")) {
    for (const Place& one : place.at("points").list()) points.push_back(read_point(one, type));
  }
  return {.launch_s = place.at("launch_s").number(),
          .s_per_flop = place.at("s_per_flop").number(),
          .s_per_byte = place.at("s_per_byte").number(),
          .log_sigma = place.at("log_sigma").number(),
          .least_flops = flops[0],
          .most_flops = flops[1],
          .records = int(place.at("records").number()),
          .points = std::move(points),
          .multiprocessors = place.has("multiprocessors") ? int(place.at("multiprocessors").number()) : 1};
}

CollectiveFit read_collective(const Place& place) {
  CollectiveFit fit;
  fit.ring = place.at("steps").text() == "ring";
  fit.base_s = place.at("base_s").number();
  fit.hop_s = place.at("latency_s").number();
  fit.from_bytes = place.at("from_bytes").numbers();
  fit.s_per_byte = place.at("s_per_byte").numbers();
  if (fit.from_bytes.empty() || fit.from_bytes.size() != fit.s_per_byte.size()) {
    place.fail("expected as many s_per_byte as from_bytes, and at least one");
  }
  fit.log_sigma = place.at("log_sigma").number();
  fit.relative_error = place.at("relative_error").number();
  if (place.has("covariance")) fit.covariance = place.at("covariance").numbers();
  const std::vector<double> ranks = place.at("fitted_ranks").numbers();
  const std::vector<double> bytes = place.at("fitted_bytes").numbers();
  if (ranks.size() != 2 || bytes.size() != 2) place.fail("expected fitted_ranks and fitted_bytes as [least, most]");
  fit.least_ranks = int64_t(ranks[0]), fit.most_ranks = int64_t(ranks[1]);
  fit.least_bytes = bytes[0], fit.most_bytes = bytes[1];
  fit.records = int(place.at("records").number());
  return fit;
}

using Field = std::pair<const char*, Quantity Machine::Data::*>;
constexpr Field kFields[] = {{"memory_bytes", &Machine::Data::memory_bytes},
                             {"memory_bytes_per_s", &Machine::Data::memory_bytes_per_s},
                             {"cache_bytes", &Machine::Data::cache_bytes},
                             {"scale_up_bytes_per_s", &Machine::Data::scale_up_bytes_per_s},
                             {"nic_bytes_per_s", &Machine::Data::nic_bytes_per_s},
                             {"limit_w", &Machine::Data::limit_w},
                             {"gpu_w", &Machine::Data::gpu_w},
                             {"node_w", &Machine::Data::node_w}};
using Spread = std::pair<const char*, Quantity RankSpread::*>;
constexpr Spread kSpreads[] = {{"persistent", &RankSpread::persistent},
                               {"transient", &RankSpread::transient},
                               {"tail", &RankSpread::tail},
                               {"shape", &RankSpread::shape}};

using Constant = std::pair<const char*, Quantity CollectiveConstants::*>;
constexpr Constant kConstants[] = {{"latency_scale", &CollectiveConstants::latency_scale},
                                   {"ring_share", &CollectiveConstants::ring_share},
                                   {"switch_share", &CollectiveConstants::switch_share},
                                   {"network_share", &CollectiveConstants::network_share},
                                   {"network_channels", &CollectiveConstants::network_channels},
                                   {"interference", &CollectiveConstants::interference},
                                   {"spine_divisor", &CollectiveConstants::spine_divisor},
                                   {"spine_hop_factor", &CollectiveConstants::spine_hop_factor}};

void read_efficiency(const Place& place, Efficiency& efficiency) {
  for (const auto& [key, quantity] : place.at("tensor").entries()) {
    efficiency.tensor[KernelClass(std::stoi(key))] = read_quantity(quantity);
  }
  efficiency.memory = read_quantity(place.at("memory"));
  efficiency.gather = read_quantity(place.at("gather"));
  efficiency.launch_s = read_quantity(place.at("launch_s"));
  efficiency.overhead = read_quantity(place.at("overhead"));
}

json write(const Efficiency& efficiency) {
  json node = {{"tensor", json::object()},
               {"memory", write(efficiency.memory)},
               {"gather", write(efficiency.gather)},
               {"launch_s", write(efficiency.launch_s)},
               {"overhead", write(efficiency.overhead)}};
  for (const auto& [kind, quantity] : efficiency.tensor) node["tensor"][std::to_string(int(kind))] = write(quantity);
  return node;
}

void read_model(const Place& root, Machine::Data& model) {
  if (int(root.at("schema").number()) != kModelSchema) {
    root.at("schema").fail(fmt::format("this program reads schema {}", kModelSchema));
  }
  model.name = root.at("name").text();
  model.title = root.at("title").text();
  model.kind = root.at("kind").text();
  if (model.kind != "host" && model.kind != "gpu") root.at("kind").fail("expected host or gpu");
  model.gpus_per_node = int(root.at("gpus_per_node").number());
  model.multiprocessors = int(root.at("multiprocessors").number());
  model.training_type = parse_number_type(root.at("training_type").text());
  model.scale_up_domain = int64_t(root.at("scale_up_domain").number());
  model.reduces_in_switch = root.at("reduces_in_switch").number() != 0;
  for (const auto& [key, place] : root.at("flops_per_s").entries()) {
    model.flops_per_s[parse_number_type(key)] = read_quantity(place);
  }
  for (const auto& [key, member] : kFields) model.*member = read_quantity(root.at(key));
  read_efficiency(root.at("efficiency"), model.efficiency);
  for (const auto& [key, member] : kConstants)
    model.collectives.*member = read_quantity(root.at("collectives").at(key));
  model.collectives.pod_ranks = int64_t(root.at("collectives").at("pod_ranks").number());
  for (const auto& [key, member] : kSpreads) {
    if (root.at("ranks").has(key)) model.ranks.*member = read_quantity(root.at("ranks").at(key));
  }
  for (const auto& [key, place] : root.at("gemm").entries()) {
    const NumberType type = parse_number_type(key);
    model.gemm_fits[type] = read_gemm(place, type);
  }
  for (const auto& [key, place] : root.at("collective").entries()) {
    model.collective_fits[parse_collective_kind(key)] = read_collective(place);
  }
  model.step_overhead = root.at("step_overhead").number();
  model.model_log_sigma = root.at("model_log_sigma").number();
  model.fitted_ranks = int64_t(root.at("fitted_ranks").number());
  for (const Place& one : root.at("evidence").list()) {
    model.evidence.push_back({one.at("what").text(), parse_evidence(one.at("evidence")), one.at("source").text()});
  }
}

}  // namespace

std::string model_to_json(const Machine::Data& model) {
  json root = {{"schema", kModelSchema},
               {"name", model.name},
               {"title", model.title},
               {"kind", model.kind},
               {"gpus_per_node", model.gpus_per_node},
               {"multiprocessors", model.multiprocessors},
               {"training_type", std::string(name(model.training_type))},
               {"scale_up_domain", model.scale_up_domain},
               {"reduces_in_switch", model.reduces_in_switch ? 1 : 0},
               {"step_overhead", model.step_overhead},
               {"model_log_sigma", model.model_log_sigma},
               {"fitted_ranks", model.fitted_ranks},
               {"flops_per_s", json::object()},
               {"gemm", json::object()},
               {"collective", json::object()},
               {"evidence", json::array()},
               {"efficiency", write(model.efficiency)}};
  for (const auto& [type, quantity] : model.flops_per_s) root["flops_per_s"][std::string(name(type))] = write(quantity);
  for (const auto& [key, member] : kFields) root[key] = write(model.*member);
  for (const auto& [key, member] : kConstants) root["collectives"][key] = write(model.collectives.*member);
  root["collectives"]["pod_ranks"] = model.collectives.pod_ranks;
  for (const auto& [key, member] : kSpreads) root["ranks"][key] = write(model.ranks.*member);
  for (const auto& [type, fit] : model.gemm_fits) root["gemm"][std::string(name(type))] = write(fit);
  for (const auto& [kind, fit] : model.collective_fits) root["collective"][std::string(name(kind))] = write(fit);
  for (const EvidenceLine& line : model.evidence) {
    root["evidence"].push_back(
        {{"what", line.what}, {"evidence", std::string(name(line.evidence))}, {"source", line.source}});
  }
  return root.dump(1) + "\n";
}

std::shared_ptr<Machine::Data> model_from_json(const std::string& text, const std::string& path) {
  json document;
  try {
    document = json::parse(text);
  } catch (const json::parse_error& error) {
    throw InputError(
        fmt::format("{}: not a complete JSON document (at byte {}): truncated, or not a model of "
                    "`farscale fit`",
                    path, error.byte));
  }
  auto model = std::make_shared<Machine::Data>();
  model->path = path;
  read_shared(*model);
  read_model(Place(document, path, ""), *model);
  return model;
}

Machine load_model(const std::string& path) {
  std::ifstream file(path);
  if (!file)
    throw InputError(fmt::format("{}: no such model file: make one with `farscale fit RESULT -o {}`", path, path));
  std::ostringstream text;
  text << file.rdbuf();
  return Machine(model_from_json(text.str(), path));
}

}  // namespace farscale
