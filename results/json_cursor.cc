// Checked steps through a JSON document.
#include "results/json_cursor.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "kernels/suggest.h"

namespace farscale {
namespace {

std::string found(const nlohmann::json& value) {
  if (value.is_object() || value.is_array()) return value.is_object() ? "an object" : "an array";
  const std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return text.size() > 40 ? text.substr(0, 40) + "…" : text;
}

}  // namespace

nlohmann::json parse_json(const std::string& text, const std::string& file) {
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    const size_t at = std::min(error.byte > 0 ? error.byte - 1 : 0, text.size());
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    const size_t last = text.find_last_not_of(" \t\r\n");
    const bool ended = last == std::string::npos || at > last;
    throw InputError(fmt::format("{}:{}: not JSON at byte {} of {}{}: expected a result file", file, line, at,
                                 text.size(), ended ? " (the file ends too early: truncated?)" : ""));
  } catch (const nlohmann::json::out_of_range& error) {
    throw InputError(fmt::format("{}: a number is too large: {}", file, error.what()));
  }
}

bool JsonCursor::has(const std::string& key) const { return value_->is_object() && value_->contains(key); }

bool JsonCursor::is_null() const { return value_->is_null(); }

bool JsonCursor::is_number() const { return value_->is_number(); }

void JsonCursor::fail(std::string_view message) const {
  throw InputError(fmt::format("{}: {}: {}", file_, path_, message));
}

const nlohmann::json& JsonCursor::require(bool ok, std::string_view expected) const {
  if (!ok) fail(fmt::format("expected {}, found {}", expected, found(*value_)));
  return *value_;
}

JsonCursor JsonCursor::at(const std::string& key) const {
  require(value_->is_object(), "an object");
  const auto item = value_->find(key);
  if (item == value_->end()) {
    const std::string nearest = nearest_name(key, keys());
    fail(fmt::format("key '{}' is missing{}", key,
                     nearest.empty() ? "" : fmt::format(" (is '{}' meant to be it?)", nearest)));
  }
  return {*item, file_, path_ + "." + key};
}

std::vector<JsonCursor> JsonCursor::items() const {
  require(value_->is_array(), "an array");
  std::vector<JsonCursor> found_items;
  for (size_t i = 0; i < value_->size(); ++i) {
    found_items.emplace_back((*value_)[i], file_, fmt::format("{}[{}]", path_, i));
  }
  return found_items;
}

std::vector<std::string> JsonCursor::keys() const {
  require(value_->is_object(), "an object");
  std::vector<std::string> names;
  for (const auto& [key, item] : value_->items()) names.push_back(key);
  return names;
}

std::string JsonCursor::text() const { return require(value_->is_string(), "text").get<std::string>(); }

double JsonCursor::number() const { return require(value_->is_number(), "a number").get<double>(); }

int64_t JsonCursor::integer(int64_t least, int64_t most) const {
  require(value_->is_number_integer(), "a whole number");
  const bool too_large = value_->is_number_unsigned() && value_->get<uint64_t>() > uint64_t(INT64_MAX);
  const int64_t value = too_large ? INT64_MAX : value_->get<int64_t>();
  require(!too_large && value >= least && value <= most, fmt::format("a whole number from {} to {}", least, most));
  return value;
}

bool JsonCursor::flag() const { return require(value_->is_boolean(), "true or false").get<bool>(); }

std::vector<double> JsonCursor::numbers() const {
  std::vector<double> values;
  for (const JsonCursor& item : items()) values.push_back(item.number());
  return values;
}

std::vector<std::string> JsonCursor::texts() const {
  std::vector<std::string> values;
  for (const JsonCursor& item : items()) values.push_back(item.text());
  return values;
}

std::map<std::string, std::string> JsonCursor::text_map() const {
  std::map<std::string, std::string> values;
  for (const std::string& key : keys()) values[key] = at(key).text();
  return values;
}

std::map<std::string, double> JsonCursor::number_map() const {
  std::map<std::string, double> values;
  for (const std::string& key : keys()) values[key] = at(key).number();
  return values;
}

std::map<std::string, std::vector<double>> JsonCursor::numbers_map() const {
  std::map<std::string, std::vector<double>> values;
  for (const std::string& key : keys()) values[key] = at(key).numbers();
  return values;
}

}  // namespace farscale
