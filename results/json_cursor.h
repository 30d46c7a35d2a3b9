// A place in a JSON document of somebody else's making: every step down checks, every error names the file, the JSON
// path, what was expected and what was found. Internal to results: it names nlohmann's type.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace farscale {

// Parses `text`; InputError "file:line: …" when it is not JSON, with a word on truncation when it just ends.
nlohmann::json parse_json(const std::string& text, const std::string& file);

class JsonCursor {
 public:
  JsonCursor(const nlohmann::json& value, std::string file, std::string path = "$")
      : value_(&value), file_(std::move(file)), path_(std::move(path)) {}

  bool has(const std::string& key) const;  // false for what is no object
  bool is_null() const;
  bool is_number() const;
  JsonCursor at(const std::string& key) const;  // of an object; nearest key on error
  std::vector<JsonCursor> items() const;        // of an array
  std::vector<std::string> keys() const;        // of an object

  std::string text() const;
  double number() const;  // finite by JSON's grammar
  int64_t integer(int64_t least = std::numeric_limits<int64_t>::min(),
                  int64_t most = std::numeric_limits<int64_t>::max()) const;
  bool flag() const;
  std::vector<double> numbers() const;
  std::vector<std::string> texts() const;
  std::map<std::string, std::string> text_map() const;
  std::map<std::string, double> number_map() const;
  std::map<std::string, std::vector<double>> numbers_map() const;

  const std::string& path() const { return path_; }
  [[noreturn]] void fail(std::string_view message) const;  // InputError "file: path: message"

 private:
  const nlohmann::json& require(bool ok, std::string_view expected) const;

  const nlohmann::json* value_;
  std::string file_;
  std::string path_;
};

}  // namespace farscale
