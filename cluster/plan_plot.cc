// Plans as a picture: a wide panel with the fleet, and three below with training, power and cost.
#include "cluster/plan_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "cluster/plan_canvas.h"
#include "kernels/format.h"

namespace farscale {
namespace {

constexpr std::array kPlanColours = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444"};

struct State {
  const char* name;
  double SiteDay::*gpus;
  const char* colour;
};

// From the bottom of the stack: what trains, then what is nearest to it.
constexpr std::array<State, 7> kStates = {{{"in service", &SiteDay::in_service, "#0072b2"},
                                           {"no power", &SiteDay::dark, "#555555"},
                                           {"in repair", &SiteDay::in_repair, "#d55e00"},
                                           {"burning in", &SiteDay::burning_in, "#56b4e9"},
                                           {"racked, waiting", &SiteDay::racked, "#b8a9c9"},
                                           {"in a warehouse", &SiteDay::stored, "#f0c24b"},
                                           {"on the road", &SiteDay::in_transit, "#999933"}}};

double day_of(Day day) { return double(day.time_since_epoch().count()); }

std::string plan_colour(size_t plan) { return kPlanColours[plan % kPlanColours.size()]; }

using Field = Estimate TimelineRow::*;

PlotCurve curve_of(const PlanReport& report, Field field, const std::string& colour) {
  PlotCurve curve{.colour = colour, .points = {}};
  for (const TimelineRow& row : report.timeline) {
    const Estimate& value = row.*field;
    curve.points.push_back({day_of(row.date), value.p05, value.p50, value.p95});
  }
  return curve;
}

// Colours that come round again are dashed.
std::vector<PlotCurve> curves_of(const std::vector<PlanReport>& reports, Field field) {
  std::vector<PlotCurve> curves;
  for (size_t i = 0; i < reports.size(); ++i) {
    curves.push_back(curve_of(reports[i], field, plan_colour(i)));
    curves.back().dashed = i >= kPlanColours.size();
  }
  return curves;
}

double most_of(const std::vector<PlotCurve>& curves) {
  double most = 0;
  for (const PlotCurve& curve : curves)
    for (const BandPoint& point : curve.points) most = std::max(most, point.high);
  return most;
}

// Power the owned sites may draw, by the medians.
double power_limit_mw(const Plan& plan, double day) {
  double sum = 0;
  for (const Site& site : plan.sites) {
    std::vector<Step> steps;
    for (const PowerStep& step : site.power) steps.push_back({step.from.days.value.p50, step.megawatts.value.p50});
    sum += power_at(steps, day);
  }
  return sum;
}

struct Span {
  double first, last;
};

Span span_of(const std::vector<PlanReport>& reports) {
  Span span{day_of(reports[0].plan.start), day_of(reports[0].plan.end)};
  for (const PlanReport& report : reports)
    span = {std::min(span.first, day_of(report.plan.start)), std::max(span.last, day_of(report.plan.end))};
  return span;
}

void draw_states(Canvas& canvas, const PlanReport& report, const Span& span) {
  double most = 0;
  for (const SiteDay& day : report.days) most = std::max(most, day.delivered);
  Panel panel = canvas.panel(PanelPlace::kTop, "GPUs by state, median run", most, span.first, span.last);
  std::vector<double> below(report.days.size(), 0.0);
  std::vector<LegendEntry> legend;
  const double start = day_of(report.plan.start);
  for (const State& state : kStates) {
    std::vector<BandPoint> area;
    double seen = 0;
    for (size_t d = 0; d < below.size(); ++d) {
      const double gpus = std::max(report.days[d].*state.gpus, 0.0);
      area.push_back({start + double(d), below[d], 0, below[d] + gpus});
      below[d] += gpus;
      seen = std::max(seen, gpus);
    }
    if (seen < 1e-3 * most) continue;
    canvas.area(panel, area, state.colour, 0.9);
    legend.push_back({state.name, state.colour, LegendEntry::kArea});
  }
  canvas.legend(panel, legend);
}

void draw_fleets(Canvas& canvas, const std::vector<PlanReport>& reports, const Span& span) {
  const std::vector<PlotCurve> curves = curves_of(reports, &TimelineRow::in_service);
  Panel panel = canvas.panel(PanelPlace::kTop, "GPUs in service", most_of(curves), span.first, span.last);
  std::vector<LegendEntry> legend;
  for (size_t i = 0; i < reports.size(); ++i) {
    canvas.curve(panel, curves[i], 0.18);
    legend.push_back(
        {reports[i].plan.name, plan_colour(i), curves[i].dashed ? LegendEntry::kDashes : LegendEntry::kLine});
  }
  canvas.legend(panel, legend);
}

void draw_curves(Canvas& canvas, const std::vector<PlanReport>& reports, const Span& span, PanelPlace place,
                 const std::string& title, Field field) {
  const std::vector<PlotCurve> curves = curves_of(reports, field);
  Panel panel = canvas.panel(place, title, most_of(curves), span.first, span.last);
  for (const PlotCurve& curve : curves) canvas.curve(panel, curve, 0.18);
}

// With what the sites may draw, where that limit is near.
void draw_power(Canvas& canvas, const std::vector<PlanReport>& reports, const Span& span) {
  const std::vector<PlotCurve> curves = curves_of(reports, &TimelineRow::power_mw);
  const double most = most_of(curves);
  PlotCurve limit{.colour = "#222222", .dashed = true};
  double most_limit = 0;
  for (const BandPoint& point : curves[0].points) {
    const double mw = power_limit_mw(reports[0].plan, point.x);
    limit.points.push_back({point.x, mw, mw, mw});
    most_limit = std::max(most_limit, mw);
  }
  const bool shows_limit = reports.size() == 1 && most_limit > 0 && most_limit < 2.5 * most;
  Panel panel = canvas.panel(PanelPlace::kMiddle, "Power with cooling and losses, MW",
                             shows_limit ? std::max(most, most_limit) : most, span.first, span.last);
  for (const PlotCurve& curve : curves) canvas.curve(panel, curve, 0.18);
  if (!shows_limit) return;
  canvas.curve(panel, limit, 0);
  canvas.legend(panel, {{"site's limit", limit.colour, LegendEntry::kDashes}});
}

std::string heading(const std::vector<PlanReport>& reports) {
  if (reports.size() == 1) return reports[0].plan.title;
  return fmt::format("{} plans side by side", reports.size());
}

std::string subtitle(const std::vector<PlanReport>& reports) {
  const PlanReport& report = reports[0];
  std::string text = reports.size() == 1
                         ? fmt::format("{} · trains {} · ", report.plan.name, report.plan.training.workload)
                         : std::string();
  const auto trains_otherwise = [&report](const PlanReport& other) {
    return other.plan.training.workload != report.plan.training.workload;
  };
  if (std::any_of(reports.begin(), reports.end(), trains_otherwise))
    text += "they train different workloads, whose samples do not compare · ";
  if (report.options.draws == 0) return text + "one nominal run, every figure at its median";
  return text + fmt::format("lines: median of {} draws; bands: 5th to 95th percentile{}", report.options.draws,
                            report.options.events ? "; every failure and repair played" : "");
}

}  // namespace

std::string plot_svg(const std::vector<PlanReport>& reports) {
  const Span span = span_of(reports);
  Canvas canvas(heading(reports), subtitle(reports));
  if (reports.size() == 1)
    draw_states(canvas, reports[0], span);
  else
    draw_fleets(canvas, reports, span);
  draw_curves(canvas, reports, span, PanelPlace::kLeft, "Samples kept since the start", &TimelineRow::samples);
  draw_power(canvas, reports, span);
  draw_curves(canvas, reports, span, PanelPlace::kRight, "Money spent since the start, USD", &TimelineRow::cost_usd);
  return canvas.svg();
}

}  // namespace farscale
