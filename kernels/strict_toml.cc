// Strict TOML over toml++: what was asked for is remembered, so that what was not can be refused.
#include "kernels/strict_toml.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "kernels/error.h"
#include "kernels/suggest.h"

namespace farscale {

// A table's node: the document it belongs to, the keys asked for so far, and the child tables handed out.
struct TomlTable::Node {
  std::shared_ptr<const toml::table> document;
  const toml::table* table = nullptr;
  std::string file;
  std::string path;  // "sites[0].power", for messages
  std::set<std::string, std::less<>> asked;
  std::vector<std::pair<const toml::table*, std::shared_ptr<Node>>> children;
};

namespace {

std::string_view shape_of(const toml::node& node) {
  if (node.is_string()) return "text";
  if (node.is_number()) return "number";
  if (node.is_table()) return "table";
  if (node.is_array()) return "array";
  if (node.is_date()) return "date";
  return node.is_boolean() ? "flag" : "time";
}

int line_of(const toml::node& node) { return static_cast<int>(node.source().begin.line); }

std::string range_text(Range range) {
  if (std::isinf(range.most) && range.least == kPositive.least) return "a number above 0";
  if (std::isinf(range.most)) return fmt::format("a number of at least {}", range.least);
  if (std::isinf(range.least)) return fmt::format("a number of at most {}", range.most);
  return fmt::format("a number from {} to {}", range.least, range.most);
}

std::shared_ptr<TomlTable::Node> child_of(TomlTable::Node& parent, const toml::table& table, const std::string& key) {
  for (auto& [known, node] : parent.children) {
    if (known == &table) return node;
  }
  auto node = std::make_shared<TomlTable::Node>();
  node->document = parent.document;
  node->table = &table;
  node->file = parent.file;
  node->path = parent.path.empty() ? key : parent.path + "." + key;
  parent.children.emplace_back(&table, node);
  return node;
}

double number_of(const TomlTable& table, std::string_view key, const toml::node& node, Range range) {
  // Whole numbers that a double cannot hold exactly are numbers, too.
  const auto value = node.is_integer()          ? std::optional<double>(double(node.as_integer()->get()))
                     : node.is_floating_point() ? node.value<double>()
                                                : std::nullopt;
  if (!value) table.fail(key, fmt::format("expected {}, found {}", range_text(range), shape_of(node)));
  if (!std::isfinite(*value) || *value < range.least || *value > range.most) {
    table.fail(key, fmt::format("expected {}, found {}", range_text(range), *value));
  }
  return *value;
}

int64_t integer_of(const TomlTable& table, std::string_view key, const toml::node& node, Range range) {
  number_of(table, key, node, range);
  if (!node.is_integer()) table.fail(key, "expected a whole number");
  return *node.value<int64_t>();
}

std::string text_of(const TomlTable& table, std::string_view key, const toml::node& node) {
  if (!node.is_string()) table.fail(key, fmt::format("expected text in quotes, found {}", shape_of(node)));
  return *node.value<std::string>();
}

// The key's node, or null; marks it as asked for.
const toml::node* ask(TomlTable::Node& node, std::string_view key) {
  const toml::node* value = node.table->get(key);
  node.asked.emplace(key);
  return value;
}

const toml::node& require(const TomlTable& table, TomlTable::Node& node, std::string_view key,
                          std::string_view expected) {
  const toml::node* value = ask(node, key);
  if (value != nullptr) return *value;
  // A misspelt key is the likeliest reason for a missing one.
  std::vector<std::string> present;
  for (const std::string& k : table.keys()) {
    if (!node.asked.contains(k)) present.push_back(k);
  }
  const std::string nearest = nearest_name(key, present);
  table.fail(key, fmt::format("missing: expected {}{}", expected,
                              nearest.empty() ? "" : fmt::format(" (is '{}' meant to be it?)", nearest)));
}

const toml::array* array_of(const TomlTable& table, TomlTable::Node& node, std::string_view key) {
  const toml::node* value = ask(node, key);
  if (value == nullptr) return nullptr;
  if (!value->is_array()) table.fail(key, fmt::format("expected an array, found {}", shape_of(*value)));
  return value->as_array();
}

}  // namespace

bool TomlTable::has(std::string_view key) const {
  if (!node_->table->contains(key)) return false;
  ask(*node_, key);
  return true;
}

std::vector<std::string> TomlTable::keys() const {
  std::vector<std::pair<toml::source_position, std::string>> found;
  for (const auto& [key, value] : *node_->table) found.emplace_back(key.source().begin, std::string(key.str()));
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> names;
  for (auto& [position, name] : found) names.push_back(std::move(name));
  return names;
}

std::string TomlTable::text(std::string_view key) const {
  return text_of(*this, key, require(*this, *node_, key, "text"));
}

std::string TomlTable::text(std::string_view key, std::string_view fallback) const {
  const toml::node* value = ask(*node_, key);
  return value ? text_of(*this, key, *value) : std::string(fallback);
}

double TomlTable::number(std::string_view key, Range range) const {
  return number_of(*this, key, require(*this, *node_, key, range_text(range)), range);
}

double TomlTable::number(std::string_view key, Range range, double fallback) const {
  const toml::node* value = ask(*node_, key);
  return value ? number_of(*this, key, *value, range) : fallback;
}

int64_t TomlTable::integer(std::string_view key, Range range) const {
  return integer_of(*this, key, require(*this, *node_, key, "a whole number"), range);
}

int64_t TomlTable::integer(std::string_view key, Range range, int64_t fallback) const {
  const toml::node* value = ask(*node_, key);
  return value ? integer_of(*this, key, *value, range) : fallback;
}

bool TomlTable::flag(std::string_view key, bool fallback) const {
  const toml::node* value = ask(*node_, key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) fail(key, fmt::format("expected true or false, found {}", shape_of(*value)));
  return *value->value<bool>();
}

std::chrono::sys_days TomlTable::date(std::string_view key) const {
  const toml::node& value = require(*this, *node_, key, "a date like 2024-12-31");
  if (!value.is_date())
    fail(key, fmt::format("expected a date like 2024-12-31 (no quotes), found {}", shape_of(value)));
  const toml::date date = *value.value<toml::date>();
  return std::chrono::year{date.year} / std::chrono::month{date.month} / std::chrono::day{date.day};
}

std::chrono::sys_days TomlTable::date(std::string_view key, std::chrono::sys_days fallback) const {
  return node_->table->contains(key) ? date(key) : (ask(*node_, key), fallback);
}

std::string TomlTable::choice(std::string_view key, const std::vector<std::string>& valid) const {
  std::string value = text(key);
  if (std::find(valid.begin(), valid.end(), value) == valid.end()) fail(key, unknown_name(key, value, valid));
  return value;
}

std::string TomlTable::choice(std::string_view key, const std::vector<std::string>& valid,
                              std::string_view fallback) const {
  return node_->table->contains(key) ? choice(key, valid) : (ask(*node_, key), std::string(fallback));
}

std::vector<std::string> TomlTable::texts(std::string_view key) const {
  std::vector<std::string> values;
  if (const toml::array* array = array_of(*this, *node_, key)) {
    for (const toml::node& item : *array) values.push_back(text_of(*this, key, item));
  }
  return values;
}

std::vector<double> TomlTable::numbers(std::string_view key, Range range) const {
  std::vector<double> values;
  if (const toml::array* array = array_of(*this, *node_, key)) {
    for (const toml::node& item : *array) values.push_back(number_of(*this, key, item, range));
  }
  return values;
}

std::vector<int64_t> TomlTable::integers(std::string_view key, Range range) const {
  std::vector<int64_t> values;
  if (const toml::array* array = array_of(*this, *node_, key)) {
    for (const toml::node& item : *array) values.push_back(integer_of(*this, key, item, range));
  }
  return values;
}

TomlTable TomlTable::table(std::string_view key) const {
  const toml::node& value = require(*this, *node_, key, "a table");
  if (!value.is_table()) fail(key, fmt::format("expected a table, found {}", shape_of(value)));
  return TomlTable(child_of(*node_, *value.as_table(), std::string(key)));
}

std::optional<TomlTable> TomlTable::maybe_table(std::string_view key) const {
  node_->asked.insert(std::string(key));  // so that a misspelt one finds its name
  if (!has(key)) return std::nullopt;
  return table(key);
}

std::vector<TomlTable> TomlTable::tables(std::string_view key) const {
  std::vector<TomlTable> found;
  const toml::array* array = array_of(*this, *node_, key);
  if (array == nullptr) return found;
  for (size_t i = 0; i < array->size(); ++i) {
    const toml::node& item = *array->get(i);
    if (!item.is_table()) fail(key, fmt::format("expected tables, found {}", shape_of(item)));
    found.emplace_back(child_of(*node_, *item.as_table(), fmt::format("{}[{}]", key, i)));
  }
  return found;
}

std::string_view TomlTable::shape(std::string_view key) const {
  const toml::node* value = node_->table->get(key);
  return value ? shape_of(*value) : "";
}

std::string TomlTable::where() const {
  const int line = line_of(*node_->table);
  return line > 0 ? fmt::format("{}:{}", node_->file, line) : node_->file;
}

std::string TomlTable::where(std::string_view key) const {
  for (const auto& [k, value] : *node_->table) {
    if (k.str() == key && k.source().begin.line > 0) return fmt::format("{}:{}", node_->file, k.source().begin.line);
  }
  return where();
}

void TomlTable::fail(std::string_view key, std::string_view message) const {
  const std::string full = node_->path.empty() ? std::string(key) : fmt::format("{}.{}", node_->path, key);
  throw InputError(fmt::format("{}: {}: {}", where(key), full, message));
}

void TomlTable::finish() const {
  const std::vector<std::string> asked(node_->asked.begin(), node_->asked.end());
  for (const std::string& key : keys()) {
    if (!node_->asked.contains(key)) {
      // Keys that are already in the file are no help to somebody who misspelt one.
      std::vector<std::string> missing;
      for (const std::string& k : asked) {
        if (!node_->table->contains(k)) missing.push_back(k);
      }
      const bool hinted = !nearest_name(key, missing).empty();
      fail(key, unknown_name("key", key, hinted ? missing : asked));
    }
  }
  for (auto& [table, node] : node_->children) TomlTable(node).finish();
}

TomlTable parse_toml(std::string_view text, const std::string& name) {
  try {
    auto document = std::make_shared<const toml::table>(toml::parse(text, name));
    auto node = std::make_shared<TomlTable::Node>();
    node->table = document.get();
    node->document = std::move(document);
    node->file = name;
    return TomlTable(std::move(node));
  } catch (const toml::parse_error& error) {
    const auto& at = error.source().begin;
    throw InputError(fmt::format("{}:{}:{}: not TOML: {}", name, at.line, at.column, error.description()));
  }
}

TomlTable read_toml(const std::string& path) {
  if (std::filesystem::is_directory(path)) throw InputError(fmt::format("{}: is a folder: expected a TOML file", path));
  std::ifstream file(path);
  if (!file) throw InputError(fmt::format("{}: cannot be opened: expected a readable TOML file", path));
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (file.bad()) throw InputError(fmt::format("{}: cannot be read", path));
  if (text.empty()) throw InputError(fmt::format("{}: is empty: expected a TOML file", path));
  return parse_toml(text, path);
}

}  // namespace farscale
