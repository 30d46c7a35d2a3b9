// A fitted collective as a table or JSON.
#include "cluster/collective_command.h"

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "cluster/ring_network.h"
#include "kernels/error.h"
#include "kernels/format.h"

namespace farscale {
namespace {

struct Row {
  int64_t ranks, bytes;
  Estimate time_s;
  double bus_bytes_per_s, network_slowdown;
};

std::vector<Row> rows_of(const CollectiveQuestion& question, const CollectiveFit& fit, CollectiveKind kind) {
  const RingNetwork network = parse_ring_network(question.network);
  std::vector<Row> rows;
  for (const int64_t ranks : question.ranks) {
    for (const int64_t bytes : question.bytes) {
      if (ranks < 2) throw InputError("--gpus: a collective needs at least 2 ranks");
      if (bytes < 1) throw InputError(fmt::format("--bytes: expected at least 1, not {}", bytes));
      const Estimate time_s = ring_time(fit, kind, ranks, double(bytes), network);
      rows.push_back(
          {ranks, bytes, time_s, bus_factor(kind, ranks) * double(bytes) / time_s.p50, ring_slowdown(network, ranks)});
    }
  }
  return rows;
}

nlohmann::json to_json(const Row& row, const CollectiveFit& fit) {
  return {{"ranks", row.ranks},
          {"bytes", row.bytes},
          {"time_s", {{"p05", row.time_s.p05}, {"p50", row.time_s.p50}, {"p95", row.time_s.p95}}},
          {"bus_bandwidth_bytes_per_s", row.bus_bytes_per_s},
          {"network_slowdown", row.network_slowdown},
          {"extrapolated_from_ranks", fit.most_ranks}};
}

void print_rows(const std::vector<Row>& rows, const CollectiveFit& fit) {
  TextTable table({"ranks", "size", "time", "5th … 95th percentile", "bus", "network"});
  for (const Row& row : rows) {
    table.add({format_count(double(row.ranks)), format_bytes(double(row.bytes)), format_seconds(row.time_s.p50),
               fmt::format("{} … {}", format_seconds(row.time_s.p05), format_seconds(row.time_s.p95)),
               format_si(row.bus_bytes_per_s, "B/s"), fmt::format("{:.2f}x", row.network_slowdown)});
  }
  fmt::print("{}M fitted to {} records on {} to {} ranks; network: how much longer the bytes take than there\n",
             table.str(), fit.records, fit.least_ranks, fit.most_ranks);
}

}  // namespace

void predict_collective(const CollectiveQuestion& question) {
  if (question.model.empty() || question.bytes.empty()) {
    throw InputError("--collective asks a fitted model: it needs --model (a file of `farscale fit`) and --bytes");
  }
  const CollectiveKind kind = parse_collective_kind(question.kind);
  const Machine machine = load_model(question.model);
  const auto fit = machine.data().collective_fits.find(kind);
  if (fit == machine.data().collective_fits.end()) {
    throw InputError(fmt::format("{}: has no fit of {}: run and fit it first", question.model, name(kind)));
  }
  const std::vector<Row> rows = rows_of(question, fit->second, kind);
  if (question.as_json) {
    nlohmann::json document = {{"machine", machine.name()},
                               {"collective", std::string(name(kind))},
                               {"network", question.network},
                               {"predictions", nlohmann::json::array()}};
    for (const Row& row : rows) document["predictions"].push_back(to_json(row, fit->second));
    fmt::print("{}\n", document.dump(1));
    return;
  }
  fmt::print("{} on {}\n", name(kind), machine.name());
  print_rows(rows, fit->second);
}

}  // namespace farscale
