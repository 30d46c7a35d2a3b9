// Strict TOML: every key must be asked for, every value has a type and a range, and every error names the file, the
// line, what was expected and the nearest valid name. toml++ stays behind this door.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace farscale {

struct Range {
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
};
inline constexpr Range kPositive{std::numeric_limits<double>::min(), std::numeric_limits<double>::infinity()};
inline constexpr Range kNotNegative{0, std::numeric_limits<double>::infinity()};
inline constexpr Range kFraction{0, 1};

// One table of a TOML file. Cheap to copy; all tables of a file share the document. Getters without a fallback throw
// InputError when the key is missing; all throw on a wrong type or a value outside its range.
class TomlTable {
 public:
  bool has(std::string_view key) const;   // counts as asked for only if it is there
  std::vector<std::string> keys() const;  // all keys, in file order; does not count as asking

  std::string text(std::string_view key) const;
  std::string text(std::string_view key, std::string_view fallback) const;
  double number(std::string_view key, Range range = {}) const;  // integers are numbers too; NaN and infinity are not
  double number(std::string_view key, Range range, double fallback) const;
  int64_t integer(std::string_view key, Range range = {}) const;
  int64_t integer(std::string_view key, Range range, int64_t fallback) const;
  bool flag(std::string_view key, bool fallback) const;
  std::chrono::sys_days date(std::string_view key) const;  // a TOML date: 2024-12-31, not a string
  std::chrono::sys_days date(std::string_view key, std::chrono::sys_days fallback) const;
  std::string choice(std::string_view key, const std::vector<std::string>& valid) const;  // nearest name on error
  std::string choice(std::string_view key, const std::vector<std::string>& valid, std::string_view fallback) const;

  std::vector<std::string> texts(std::string_view key) const;  // empty when missing
  std::vector<double> numbers(std::string_view key, Range range = {}) const;
  std::vector<int64_t> integers(std::string_view key, Range range = {}) const;

  TomlTable table(std::string_view key) const;
  std::optional<TomlTable> maybe_table(std::string_view key) const;
  std::vector<TomlTable> tables(std::string_view key) const;  // array of tables (or of inline tables); empty if missing

  // What a key holds, when the format allows several shapes: "text", "number", "table", "array", "date", "flag", "".
  std::string_view shape(std::string_view key) const;

  std::string where() const;                      // "plans/x.toml:12"
  std::string where(std::string_view key) const;  // the key's own line, or the table's when it is missing
  [[noreturn]] void fail(std::string_view key, std::string_view message) const;  // InputError "file:line: key: message"

  // Throws InputError for the first key anywhere in this table and below that no getter asked for.
  void finish() const;

  struct Node;  // implementation
  explicit TomlTable(std::shared_ptr<Node> node) : node_(std::move(node)) {}

 private:
  std::shared_ptr<Node> node_;
};

// Throws InputError when the file is missing, unreadable or not TOML (with line and column).
TomlTable read_toml(const std::string& path);
// The same from text; `name` stands for the file in messages.
TomlTable parse_toml(std::string_view text, const std::string& name);

}  // namespace farscale
