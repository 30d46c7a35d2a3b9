// How the predict command shows its answer: tables, or one JSON document.
#pragma once

#include <vector>

#include "cluster/predictor.h"

namespace farscale {

struct PredictRow {
  Prediction prediction;
  Estimate goodput;
};

struct PredictAnswer {
  const Workload& workload;
  const Machine& machine;
  const std::vector<PredictRow>& rows;
  bool explain = false;  // breakdown, algorithms, sensitivities and the layouts not taken
};

void print_text(Predictor& predictor, const PredictAnswer& answer);
void print_json(Predictor& predictor, const PredictAnswer& answer);

}  // namespace farscale
