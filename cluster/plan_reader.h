// The reader of plan files: strict TOML in which every figure says where it is from. Used by plan_file.cc and
// plan_file_site.cc alone.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/plan.h"

namespace farscale {

// Reads figures and keeps a line of evidence for each.
class PlanReader {
 public:
  PlanReader(const TomlTable& root, std::string name, std::string path);
  Plan read();

 private:
  using MaybeTable = std::optional<TomlTable>;

  // A figure of `table`, or of neither table nor file: then the fallback, in the evidence like any other.
  Quantity figure(const TomlTable& table, std::string_view key, Range range, const std::string& owner,
                  std::string_view unit);
  Quantity figure(const MaybeTable& table, std::string_view key, Range range, const std::string& owner,
                  std::string_view unit, const Quantity& fallback);
  std::optional<Quantity> maybe_figure(const TomlTable& table, std::string_view key, Range range,
                                       const std::string& owner, std::string_view unit);
  PlanDate date(const TomlTable& table, std::string_view key, const std::string& owner);
  Quantity keep(const std::string& label, std::string_view unit, Quantity quantity);

  void read_span();
  Training read_training(const TomlTable& table);
  FailureModel failures_of_hardware() const;
  FailureModel read_failures(const MaybeTable& table);
  StatePower read_state_power(const MaybeTable& table);
  PlanPrices read_prices(const MaybeTable& table);
  void read_parts(const TomlTable& table, PlanPrices& prices);

  void read_site(const TomlTable& table, const MaybeTable& pipeline);
  void read_building(const TomlTable& table, const std::string& owner, const MaybeTable& pipeline, Site& site);
  void read_halls(const TomlTable& table, const std::string& owner, Site& site);
  void read_price_in_service(const TomlTable& table, const std::string& owner, Site& site);
  std::optional<Quantity> read_pod(const TomlTable& table, const std::string& owner);
  SiteNetwork read_network(const MaybeTable& table, const std::string& owner);
  Pipeline read_pipeline(const std::string& owner, const MaybeTable& own, const MaybeTable& common,
                         const TomlTable& site);
  size_t other_lot(const TomlTable& table, const Delivery& delivery) const;
  void read_size(const TomlTable& table, const std::string& owner, Delivery& delivery);
  void read_first_day(const TomlTable& table, const std::string& owner, Delivery& delivery);
  void read_delivery(const TomlTable& table);
  void read_rental(const TomlTable& table);
  void read_transfer(const TomlTable& table);
  void read_job(const TomlTable& table);

  enum class SiteKind { kOwned, kRented, kAny };
  size_t site_of(const TomlTable& table, std::string_view key, SiteKind kind) const;
  void check_in_plan(const TomlTable& table, std::string_view key, const PlanDate& date) const;
  void check_sites_have_gpus() const;
  void check_prices_are_known() const;

  TomlTable root_;
  Plan plan_;
};

Quantity assumed_quantity(double low, double value, double high, const char* why);

// A shipped name that a typo should be held against; files are checked when they are opened.
std::string shipped_name(const TomlTable& table, std::string_view key, std::string_view what, std::string name,
                         const std::vector<std::string>& shipped);

inline constexpr Range kGpus{1, kMostPlanGpus};  // a count: whole numbers alone

}  // namespace farscale
