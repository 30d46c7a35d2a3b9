// Published scaling tables as the backtest sees them: rows of training steps, grouped into series, split into the rows
// a model may fit and the rows it must predict.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "results/csv.h"

namespace farscale {

enum class TableClass : uint8_t { kVision, kFsdp, kTransformer };
std::string_view name(TableClass kind);

struct ScalingRow {
  TableClass kind = TableClass::kVision;
  std::string series;    // with the kind of job where a series mixes several ("finetune SFT")
  std::string graph;     // the workload as named: a shipped one, a file, or one that nobody described
  std::string workload;  // with what changes its work: sequence length, precision
  std::string hardware;  // normalised: family, form, memory
  std::string fabric;    // what its nodes hang on: network as told, GPUs a node, form of the cards
  std::string period;    // round or release, from the series' prefix "v2.0-"; "" when there is none
  int64_t gpus = 0;
  double gpus_per_node = 8;
  double micro_batch = 0;     // samples per GPU and pass
  double accumulation = 1;    // passes per step
  double parameters = 0;      // 0: not said
  double launches = 0;        // kernels of one pass forward and backward, by the layer graph; 0: none known
  double gradient_bytes = 0;  // by the layer graph; 0: none known
  bool checkpointing = false;
  double time_s = 0;
  std::string where;        // file:line
  bool background = false;  // shipped knowledge, not asked about
  double samples_per_gpu() const { return micro_batch * accumulation; }
};

// Rows of a table with the columns of results/published; rows without a step time are left out. Throws InputError for
// missing columns, and for numbers that cannot be.
std::vector<ScalingRow> read_scaling_rows(const CsvTable& table);

struct SeriesSplit {
  std::string series;
  std::vector<size_t> fitted;  // indices into the rows
  std::vector<size_t> predicted;
  std::vector<int64_t> fitted_gpus;  // distinct, ascending
};

// A series' rows at or below a quarter of its largest GPU count may be fitted, or those of its smallest count when
// there are none; the others are predicted. Series of one GPU count give nothing to predict. Background rows are split
// only when asked for.
std::vector<SeriesSplit> split_series(const std::vector<ScalingRow>& rows, bool background = false);

// "NVIDIA A100-SXM4-80GB (400W)" and "A100-SXM-80GB" -> "A100 SXM 80".
std::string normalised_hardware(const std::string& text);

}  // namespace farscale
