// Ranges, money and dates in words.
#pragma once

#include <string>

#include "cluster/plan.h"

namespace farscale {

std::string digits(double value);  // three of them; all before the point from 1,000 on
// "3.41 M (2.90–4.10)" of value / factor; "to" where a minus would meet the dash; the unit after the range when the
// middle is 0; the value alone when there is no range.
std::string range_of(const Estimate& value, double factor, const std::string& unit);
std::string count_range(const Estimate& value);  // "41,463 (11,988–49,530)"
// "180,000": two digits, for sizes found on a grid.
std::string about_count(double count);
std::string about_range(const Estimate& count);
std::string plural(int64_t count, const std::string& what);  // "1 job", "2,000 jobs"
// "3.41 M (2.90–4.10)", one prefix for all three; the value alone when there is no range.
std::string si_range(const Estimate& value, const std::string& unit = "");
std::string usd_range(const Estimate& value);  // "2.24 billion USD (1.73–3.09)"
std::string percent_range(const Estimate& value);
// Prose in lines of at most 120 columns, those after the first with an indent; lines of their own stay apart.
std::string wrapped(const std::string& text, const std::string& indent = "");
bool is_rented(const Plan& plan);  // all of it: power is the lessor's
std::string time_range(const Estimate& value_s);
// The date `days` after a plan's start; "not by 2025-12-31" when that is beyond its end.
std::string date_range(const Plan& plan, const Estimate& days);

}  // namespace farscale
