// What the source of a figure says of it.
#pragma once

#include <string>

#include "cluster/quantity.h"

namespace farscale {

// What a source is worth, whatever its case: one that begins with "assumption", "guess" or "estimate" is assumed, with
// "data sheet" a data sheet, with "measured" measured; anything else is published. The weaker part decides: a range
// that says "range assumed" is assumed, wherever its middle is from.
Evidence evidence_of(const std::string& source, bool has_range);

// The source in a figure's table. Throws InputError when it is missing or blank.
std::string read_source(const TomlTable& table);

}  // namespace farscale
