// Reading curves, and fitting their law by Gauss-Newton on log time with priors.
#include "cluster/backtest_curves.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <Eigen/Dense>
#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "kernels/problem.h"

namespace farscale {
namespace {

constexpr double kLeastBytes = 262144;  // smaller sizes run another protocol: they say nothing about the large ones
constexpr double kRowSigma = 0.12;      // rows around the law
constexpr double kFreedom = 4;          // of their Student-t
constexpr size_t kCount = LawValues::kCount;
using Values = std::array<double, kCount>;

std::string letters(std::string_view text) {
  std::string kept;
  for (const char c : text) {
    if (std::isalpha(static_cast<unsigned char>(c))) kept += char(std::tolower(static_cast<unsigned char>(c)));
  }
  return kept;
}

// "all_reduce", "AllReduce" and "all-reduce" alike; what a table adds behind a name ("alltoall/all_gather(unsure)")
// does not count.
std::optional<CollectiveKind> kind_of(const std::string& text) {
  constexpr CollectiveKind kWithLaw[] = {CollectiveKind::kAllReduce, CollectiveKind::kReduceScatter,
                                         CollectiveKind::kAllGather, CollectiveKind::kAllToAll};
  const std::string wanted = letters(text);
  for (const CollectiveKind kind : kWithLaw) {
    if (wanted.starts_with(letters(farscale::name(kind)))) return kind;
  }
  return std::nullopt;
}

// A note that warns of its row ("UNHEALTHY example: …", "poster reports this as slow"), up to its first stop.
std::string doubt_in(const std::string& notes) {
  for (const char* word : {"UNSURE", "CHECK", "SUSPECT", "UNHEALTHY", "unsure", "degraded", "slow", "early"}) {
    if (notes.find(word) != std::string::npos) return notes.substr(0, notes.find_first_of(":;,("));
  }
  return "";
}

// Size and time of a row; none when the row does not tell both.
std::optional<CurvePoint> read_point(const CsvTable& table, size_t row, CollectiveKind kind, int64_t gpus) {
  const auto bytes = table.maybe_number(row, "bytes", 1, 1e15);
  if (!bytes) return std::nullopt;
  double time_s = table.maybe_number(row, "time_us", 0, 1e12).value_or(0) * 1e-6;
  const double bus = table.maybe_number(row, "busbw_gb_s", 0, 1e9).value_or(0) * 1e9;
  if (time_s <= 0 && bus > 0) time_s = bus_factor(kind, gpus) * *bytes / bus;
  if (time_s <= 0) return std::nullopt;
  return CurvePoint{*bytes, time_s, table.where(row), doubt_in(table.text_or(row, "notes", ""))};
}

// The curve that a row belongs to, without its points.
Curve read_curve(const CsvTable& table, size_t row, CollectiveKind kind, int64_t gpus) {
  const int64_t per_node =
      table.has("gpus_per_node") ? int64_t(table.maybe_number(row, "gpus_per_node", 1, 1e6).value_or(8)) : 8;
  return {.system = table.text(row, "system"),
          .collective = table.text(row, "collective"),
          .kind = kind,
          .fabric = fabric_of(table.text(row, "system"), per_node),
          .gpus = gpus,
          .points = {}};
}

void keep_one_a_size(std::vector<CurvePoint>& points) {
  const auto smaller = [](const CurvePoint& a, const CurvePoint& b) { return a.bytes < b.bytes; };
  const auto same = [](const CurvePoint& a, const CurvePoint& b) { return a.bytes == b.bytes; };
  std::stable_sort(points.begin(), points.end(), smaller);
  points.erase(std::unique(points.begin(), points.end(), same), points.end());
}

// What a double binary tree gains over a ring where few domains load the cards less.
double boost(const Curve& curve) {
  if (!curve.fabric.boosted || curve.kind != CollectiveKind::kAllReduce) return 1;
  return curve.domains() == 2 ? 1.9 : curve.domains() == 3 ? 1.27 : 1;
}

double levels(const Curve& curve) {
  if (curve.one_domain()) return 0;
  return curve.kind == CollectiveKind::kAllReduce ? 2 * std::log2(curve.domains()) : double(curve.gpus - 1);
}

double law(const Values& v, const Curve& curve, double bytes) {
  const double alpha = std::exp(v[LawValues::kAlpha]) + std::exp(v[LawValues::kHop]) * levels(curve);
  double rate = std::exp(v[LawValues::kInside]);
  double wire = bus_factor(curve.kind, curve.gpus);
  if (!curve.one_domain()) {
    double cards = std::exp(v[LawValues::kShare]) * curve.fabric.domain_bytes_per_s * boost(curve);
    if (curve.kind == CollectiveKind::kAllToAll) cards /= double(curve.fabric.domain);  // each rank by its own card
    rate = std::min(rate, cards);
  }
  const double flow = wire * bytes / rate;
  const double plain = flow / (flow + std::exp(v[LawValues::kChange]) * alpha);
  return std::log(alpha * (1 + std::exp(v[LawValues::kKappa]) * plain) + flow);
}

Eigen::Matrix<double, kCount, 1> slopes(const Values& v, const Curve& curve, double bytes) {
  Eigen::Matrix<double, kCount, 1> result;
  constexpr double kStep = 1e-4;
  for (size_t i = 0; i < kCount; ++i) {
    Values up = v, down = v;
    up[i] += kStep, down[i] -= kStep;
    result[Eigen::Index(i)] = (law(up, curve, bytes) - law(down, curve, bytes)) / (2 * kStep);
  }
  return result;
}

}  // namespace

std::vector<Curve> read_curves(const CsvTable& table, std::vector<std::string>* notes) {
  table.expect_columns({"system", "gpus", "collective", "bytes", "time_us", "busbw_gb_s"});
  std::map<std::string, size_t> places;
  std::vector<Curve> all;
  std::set<std::string> unknown;
  for (size_t i = 0; i < table.rows(); ++i) {
    const auto gpus = table.maybe_number(i, "gpus", 1, 1e9);
    if (!gpus || *gpus < 2) continue;
    const std::optional<CollectiveKind> kind = kind_of(table.text(i, "collective"));
    if (!kind) {
      unknown.insert(table.text(i, "collective"));
      continue;
    }
    const std::optional<CurvePoint> point = read_point(table, i, *kind, int64_t(*gpus));
    if (!point) continue;
    const std::string key = fmt::format("{} {} {}", table.text(i, "system"), table.text(i, "collective"), *gpus);
    const auto [place, fresh] = places.try_emplace(key, all.size());
    if (fresh) all.push_back(read_curve(table, i, *kind, int64_t(*gpus)));
    all[place->second].points.push_back(*point);
  }
  if (notes != nullptr && !unknown.empty()) {
    notes->push_back(fmt::format("{}: no law for {}: its rows are left out", table.path(), fmt::join(unknown, ", ")));
  }
  for (Curve& curve : all) keep_one_a_size(curve.points);
  return all;
}

double through(const std::vector<CurvePoint>& known, double bytes) {
  if (known.size() == 1) return known[0].time_s * std::max(1.0, bytes / known[0].bytes);
  size_t after = 0;
  while (after < known.size() && known[after].bytes < bytes) ++after;
  const size_t a = after == 0 ? 0 : std::min(after - 1, known.size() - 2);
  const CurvePoint &left = known[a], &right = known[a + 1];
  if (after == known.size()) {
    const double per_byte = std::max(0.0, (right.time_s - left.time_s) / (right.bytes - left.bytes));
    return right.time_s + per_byte * (bytes - right.bytes);
  }
  const double slope = std::clamp(std::log(right.time_s / left.time_s) / std::log(right.bytes / left.bytes), 0.0, 1.0);
  return left.time_s * std::pow(bytes / left.bytes, slope);
}

LawValues expected_law(const Fabric& fabric, CollectiveKind kind) {
  const bool ring = kind != CollectiveKind::kAllReduce;
  LawValues law;
  const auto set = [&](LawValues::Name name, double value, double sigma) {
    law.mean[name] = std::log(value), law.sigma[name] = sigma;
  };
  set(LawValues::kAlpha, 30e-6, 0.5);  // NCCL: 25 us by the switch, a ring's 8 + 14 x 3.4
  // NCCL: 20.9 us a level of the tree, published pairs of nodes about 25; SimAI's table of rings: 3 to 6 us a hop.
  // Transports in software (EFA, TCPX) have several times that: efficiency.toml.
  set(LawValues::kHop, (ring ? 4.5e-6 : 25e-6) * (fabric.software_transport ? 3.5 : 1), 0.6);
  // Published sweeps: 2 to 5, and with transports in software 3 to 8.
  set(LawValues::kKappa, fabric.software_transport ? 5.5 : 3.5, 0.4);
  set(LawValues::kChange, 1.0, 0.7);  // 0.2 to 7
  set(LawValues::kInside, fabric.in_domain_bytes_per_s > 0 ? fabric.in_domain_bytes_per_s : 400e9,
      fabric.in_domain_bytes_per_s > 0 ? 0.1 : 0.7);
  set(LawValues::kShare, 0.92, fabric.named_rate ? 0.12 : 0.5);  // nccl-tests logs: 0.80 to 0.98 of the cards
  return law;
}

FittedLaw::FittedLaw(const LawValues& expected, const std::vector<const Curve*>& curves) : values_(expected.mean) {
  Eigen::Matrix<double, kCount, kCount> normal;
  for (int pass = 0; pass < 40; ++pass) {
    normal.setZero();
    Eigen::Matrix<double, kCount, 1> gradient;
    for (size_t i = 0; i < kCount; ++i) {
      const double weight = 1 / (expected.sigma[i] * expected.sigma[i]);
      normal(Eigen::Index(i), Eigen::Index(i)) = weight;
      gradient[Eigen::Index(i)] = -weight * (values_[i] - expected.mean[i]);
    }
    const double wide = kRowSigma * std::max(1.0, 8 * std::pow(0.6, pass));
    for (const Curve* curve : curves) {
      for (const CurvePoint& point : curve->points) {
        if (point.bytes < kLeastBytes) continue;
        const auto slope = slopes(values_, *curve, point.bytes);
        const double residual = law(values_, *curve, point.bytes) - std::log(point.time_s), z = residual / wide;
        const double weight = (kFreedom + 1) / (kFreedom + z * z) / (wide * wide);
        normal += weight * slope * slope.transpose();
        gradient -= weight * residual * slope;
      }
    }
    const Eigen::Matrix<double, kCount, 1> step = normal.ldlt().solve(gradient);
    for (size_t i = 0; i < kCount; ++i) values_[i] += std::clamp(step[Eigen::Index(i)], -0.5, 0.5);
    if (pass > 8 && step.cwiseAbs().maxCoeff() < 1e-4) break;
  }
  const Eigen::Matrix<double, kCount, kCount> inverse = normal.inverse();
  for (size_t i = 0; i < kCount; ++i) {
    for (size_t j = 0; j < kCount; ++j) covariance_[i][j] = inverse(Eigen::Index(i), Eigen::Index(j));
  }
}

double FittedLaw::log_time(const Curve& of, double bytes) const { return law(values_, of, bytes); }

double FittedLaw::log_sigma(const Curve& of, double bytes) const {
  const auto slope = slopes(values_, of, bytes);
  double variance = 0;
  for (size_t i = 0; i < kCount; ++i) {
    for (size_t j = 0; j < kCount; ++j) {
      variance += slope[Eigen::Index(i)] * slope[Eigen::Index(j)] * covariance_[i][j];
    }
  }
  return std::sqrt(variance);
}

}  // namespace farscale
