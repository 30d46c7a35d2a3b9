// SVG by hand: rectangles, paths and text.
#include "cluster/plan_canvas.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "kernels/format.h"

namespace farscale {
namespace {

constexpr double kWidth = 1180, kHeight = 750;
constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

struct Place {
  double left, top, width, height;
};

Place place_of(PanelPlace place) {
  constexpr double kLower = 482, kLowerWidth = 310, kLowerHeight = 208;
  switch (place) {
    case PanelPlace::kTop:
      return {76, 122, 1076, 268};
    case PanelPlace::kLeft:
      return {76, kLower, kLowerWidth, kLowerHeight};
    case PanelPlace::kMiddle:
      return {459, kLower, kLowerWidth, kLowerHeight};
    case PanelPlace::kRight:
      break;
  }
  return {842, kLower, kLowerWidth, kLowerHeight};
}

std::string escaped(const std::string& words) {
  std::string text;
  for (const char c : words) {
    if (c == '&')
      text += "&amp;";
    else if (c == '<')
      text += "&lt;";
    else if (c == '>')
      text += "&gt;";
    else if (c == '"')
      text += "&quot;";
    else
      text += c;
  }
  return text;
}

struct Scale {
  double factor;
  const char* word;
};

// Above a million values are written in millions, billions or trillions; below in full.
Scale scale_of(double most) {
  for (const Scale& scale : {Scale{1e12, "trillion"}, Scale{1e9, "billion"}, Scale{1e6, "million"}})
    if (most >= 2 * scale.factor) return scale;
  return {1, ""};
}

// "Money spent, USD" -> "Money spent, billion USD".
std::string with_scale(const std::string& title, const Scale& scale) {
  if (*scale.word == '\0') return title;
  const size_t comma = title.rfind(", ");
  if (comma == std::string::npos) return fmt::format("{}, {}s", title, scale.word);
  return fmt::format("{}, {} {}", title.substr(0, comma), scale.word, title.substr(comma + 2));
}

std::string value_text(double value) {
  return value >= 1000 || value == std::floor(value) ? format_count(value) : fmt::format("{:g}", value);
}

// First days of months, at most `count` of them, evenly spaced.
std::vector<std::chrono::year_month_day> month_ticks(double first_day, double last_day, size_t count) {
  using namespace std::chrono;
  std::vector<year_month_day> all;
  const year_month_day first{sys_days{days{int(first_day)}}};
  for (year_month month(first.year(), first.month());; month += months(1)) {
    const sys_days day(month / 1);
    if (double(day.time_since_epoch().count()) > last_day) break;
    if (double(day.time_since_epoch().count()) >= first_day) all.emplace_back(day);
  }
  for (const unsigned step : {1U, 2U, 3U, 6U, 12U}) {
    std::vector<year_month_day> kept;
    for (const year_month_day& day : all)
      if ((unsigned(day.month()) - 1) % step == 0) kept.push_back(day);
    if (kept.size() <= count || step == 12) return kept;
  }
  return all;
}

}  // namespace

double tick_step(double most, int count) {
  const double rough = most / count;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * power >= rough) return factor * power;
  return 10 * power;
}

Canvas::Canvas(const std::string& heading, const std::string& subtitle) {
  body_ = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" role=\"img\" "
      "font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\" fill=\"#333\">\n<title>{2}</title>\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"#fff\"/>\n",
      kWidth, kHeight, escaped(heading));
  text(24, 38, heading, "font-size=\"21\" font-weight=\"bold\" fill=\"#111\"");
  text(24, 62, subtitle, "font-size=\"13\" fill=\"#666\"");
}

void Canvas::text(double x, double y, const std::string& words, const std::string& attributes) {
  body_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" {}>{}</text>\n", x, y, attributes, escaped(words));
}

Panel Canvas::panel(PanelPlace place, const std::string& title, double most, double first_day, double last_day) {
  const Place at = place_of(place);
  if (most <= 0) most = 1;  // nothing to show: an empty panel with an axis
  const Scale scale = scale_of(most);
  const double step = tick_step(most / scale.factor, place == PanelPlace::kTop ? 6 : 4) * scale.factor;
  const Panel panel{.left = at.left,
                    .top = at.top,
                    .width = at.width,
                    .height = at.height,
                    .most = std::ceil(most / step - 1e-9) * step,
                    .first_day = first_day,
                    .last_day = std::max(last_day, first_day + 1)};
  text(panel.left - 52, panel.top - 14, with_scale(title, scale),
       "font-size=\"14\" font-weight=\"bold\" fill=\"#222\"");
  draw_values(panel, step, scale.factor);
  draw_dates(panel);
  return panel;
}

void Canvas::draw_values(const Panel& panel, double step, double scale) {
  for (double value = 0; value <= panel.most * (1 + 1e-9); value += step) {
    const double y = panel.y(value);
    body_ += fmt::format("<path d=\"M{:.1f} {:.1f}h{:.1f}\" stroke=\"{}\" fill=\"none\"/>\n", panel.left, y,
                         panel.width, value == 0 ? "#555" : "#e3e3e3");
    text(panel.left - 8, y + 4, value_text(value / scale), "text-anchor=\"end\"");
  }
}

void Canvas::draw_dates(const Panel& panel) {
  const double bottom = panel.top + panel.height;
  const bool wide = panel.width > 600;
  bool is_first = true;
  for (const std::chrono::year_month_day& date : month_ticks(panel.first_day, panel.last_day, wide ? 26 : 8)) {
    const double x = panel.x(double(std::chrono::sys_days(date).time_since_epoch().count()));
    body_ += fmt::format("<path d=\"M{:.1f} {:.1f}v5\" stroke=\"#555\" fill=\"none\"/>\n", x, bottom);
    text(x, bottom + 19, kMonths[unsigned(date.month()) - 1], "text-anchor=\"middle\"");
    if (is_first || date.month() == std::chrono::January)
      text(x, bottom + 34, fmt::format("{}", int(date.year())), "text-anchor=\"middle\" fill=\"#666\"");
    is_first = false;
  }
}

void Canvas::area(const Panel& panel, const std::vector<BandPoint>& points, const std::string& colour, double opacity) {
  std::string path;
  for (const BandPoint& point : points)
    path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", panel.x(point.x), panel.y(point.high));
  for (auto point = points.rbegin(); point != points.rend(); ++point)
    path += fmt::format("L{:.1f} {:.1f}", panel.x(point->x), panel.y(point->low));
  body_ += fmt::format("<path d=\"{}Z\" fill=\"{}\" fill-opacity=\"{}\"/>\n", path, colour, opacity);
}

void Canvas::curve(const Panel& panel, const PlotCurve& curve, double band_opacity) {
  if (band_opacity > 0) area(panel, curve.points, curve.colour, band_opacity);
  std::string path;
  for (const BandPoint& point : curve.points)
    path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", panel.x(point.x), panel.y(point.middle));
  body_ += fmt::format("<path d=\"{}\" stroke=\"{}\" stroke-width=\"2\" stroke-linejoin=\"round\" fill=\"none\"{}/>\n",
                       path, curve.colour, curve.dashed ? " stroke-dasharray=\"6 4\"" : "");
}

// Right-aligned above the panel; what finds no place beside the title goes a line higher.
void Canvas::legend(const Panel& panel, const std::vector<LegendEntry>& entries) {
  double x = panel.left + panel.width, y = panel.top - 18;
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    const double width = 34 + 6.2 * double(display_width(entry->text));
    if (x - width < panel.left + 180 && x < panel.left + panel.width) x = panel.left + panel.width, y -= 17;
    x -= width;
    if (entry->mark == LegendEntry::kArea)
      body_ += fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"12\" height=\"12\" fill=\"{}\"/>\n", x, y - 6,
                           entry->colour);
    else
      body_ += fmt::format("<path d=\"M{:.1f} {:.1f}h16\" stroke=\"{}\" stroke-width=\"3\"{}/>\n", x - 3, y,
                           entry->colour, entry->mark == LegendEntry::kDashes ? " stroke-dasharray=\"5 3\"" : "");
    text(x + 18, y + 4, entry->text, "");
  }
}

std::string Canvas::svg() const { return body_ + "</svg>\n"; }

}  // namespace farscale
