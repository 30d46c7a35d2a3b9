// A canvas for plots over dates: panels with axes, areas, curves with bands, legends, as SVG that needs no fonts, no
// scripts and no styles from outside.
#pragma once

#include <string>
#include <vector>

namespace farscale {

struct BandPoint {
  double x;  // days since 1970-01-01
  double low, middle, high;
};

struct PlotCurve {
  std::string colour;
  std::vector<BandPoint> points;
  bool dashed = false;
};

struct LegendEntry {
  enum Mark { kArea, kLine, kDashes };
  std::string text, colour;
  Mark mark = kArea;
};

enum class PanelPlace { kTop, kLeft, kMiddle, kRight };

// Where things go in a panel: values 0 … most upwards, days first … last to the right.
struct Panel {
  double left, top, width, height;
  double most, first_day, last_day;
  double x(double day) const { return left + (day - first_day) / (last_day - first_day) * width; }
  double y(double value) const { return top + height * (1 - value / most); }
};

class Canvas {
 public:
  Canvas(const std::string& heading, const std::string& subtitle);

  // Axes and grid; the title is given the unit's scale ("…, million USD"). The panel's top lies at or above `most`.
  Panel panel(PanelPlace place, const std::string& title, double most, double first_day, double last_day);
  void area(const Panel& panel, const std::vector<BandPoint>& points, const std::string& colour, double opacity);
  void curve(const Panel& panel, const PlotCurve& curve, double band_opacity);  // no band with opacity 0
  void legend(const Panel& panel, const std::vector<LegendEntry>& entries);

  std::string svg() const;

 private:
  void text(double x, double y, const std::string& words, const std::string& attributes);
  void draw_values(const Panel& panel, double step, double scale);
  void draw_dates(const Panel& panel);

  std::string body_;
};

// 1, 2 or 5 times a power of ten, so that about `count` steps reach `most`.
double tick_step(double most, int count);

}  // namespace farscale
