// Checks of option values that the parser's own let pass.
#pragma once

namespace CLI {
class Validator;
}

namespace farscale {

// A number from `low` to `high`. CLI::Range lets "nan" pass: it is neither below nor above.
CLI::Validator number_within(double low, double high);

// A whole number that 64 bits hold without a sign: the parser wraps "-1" and caps what is too large.
CLI::Validator unsigned_number();

}  // namespace farscale
