#include "ptx_text.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace emulator {
namespace {

// Splits text into words (names, directives, numbers with their dots) and single marks; skips comments.
class Tokens {
 public:
  explicit Tokens(std::string_view text) : rest(text) {}

  // Returns the next token, or an empty one at the end of the text.
  std::string_view next() {
    skip();
    if (rest.empty()) return {};
    size_t length = 0;
    while (length < rest.size() && isWordCharacter(rest[length])) length++;
    const std::string_view token = rest.substr(0, std::max(length, size_t{1}));
    rest.remove_prefix(token.size());
    return token;
  }

 private:
  static bool isWordCharacter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$' ||
           c == '.' || c == '%';
  }

  void skip() {
    for (;;) {
      rest.remove_prefix(std::min(rest.find_first_not_of(" \t\r\n"), rest.size()));
      if (rest.starts_with("//"))
        rest.remove_prefix(std::min(rest.find('\n'), rest.size()));
      else if (rest.starts_with("/*"))
        rest.remove_prefix(std::min(rest.find("*/", 2), rest.size() - 2) + 2);
      else
        return;
    }
  }

  std::string_view rest;
};

std::optional<size_t> number(std::string_view text) {
  size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Returns the bytes of a type (8 for ".u64"), or nothing if the word is not a type.
std::optional<size_t> sizeOfType(std::string_view word) {
  if (word.size() < 3 || word[0] != '.' || std::string_view("usbf").find(word[1]) == std::string_view::npos)
    return std::nullopt;
  const auto bits = number(word.substr(2));
  return bits && (*bits == 8 || *bits == 16 || *bits == 32 || *bits == 64) ? std::optional(*bits / 8) : std::nullopt;
}

// Parses the text after ".entry": the name and, in parentheses, parameters such as ".param .align 8 .b8 name[40]".
bool parseEntry(Tokens &tokens, PTXEntry &entry) {
  entry.name = tokens.next();
  entry.maximumThreads = 1024;
  std::string_view token = tokens.next();
  std::optional<size_t> size;
  const auto endParameter = [&] {
    if (size) entry.parameterSizes.push_back(*size);
    size.reset();
  };
  if (token == "(") {
    for (token = tokens.next(); token != ")"; token = tokens.next()) {
      if (token.empty()) return false;
      if (token == ",") endParameter();
      if (!size) size = sizeOfType(token);
      if (token == "[" && size) {
        const auto count = number(tokens.next());
        if (!count) return false;
        *size *= *count;
      }
    }
    endParameter();
    token = tokens.next();
  }
  // Performance directives precede the kernel's body.
  for (; token != "{" && token != ";"; token = tokens.next()) {
    if (token.empty()) return false;
    if (token != ".maxntid" && token != ".reqntid") continue;
    const auto threads = number(tokens.next());
    if (!threads) return false;
    entry.maximumThreads = int(std::min(*threads, size_t{1024}));
  }
  return true;
}

}  // namespace

bool parse(std::string_view text, PTXText &parsed, std::string &problem) {
  Tokens tokens(text);
  problem = "the text does not start with .version";
  if (tokens.next() != ".version") return false;
  const std::string_view version = tokens.next();
  const size_t dot = version.find('.');
  if (dot == std::string_view::npos) return false;
  const auto major = number(version.substr(0, dot)), minor = number(version.substr(dot + 1));
  if (!major || !minor || *major > 99 || *minor > 9) return false;
  parsed.version = int(*major * 10 + *minor);

  problem = "the text has no .target sm_…";
  if (tokens.next() != ".target") return false;
  const std::string_view target = tokens.next();
  if (!target.starts_with("sm_")) return false;
  // sm_90a runs only on 9.0; the letter does not matter here.
  const auto capability = number(target.substr(3, target.find_first_not_of("0123456789", 3) - 3));
  if (!capability || *capability > 999) return false;
  parsed.target = int(*capability);

  for (std::string_view token = tokens.next(); !token.empty(); token = tokens.next()) {
    if (token != ".entry") continue;
    PTXEntry entry;
    if (!parseEntry(tokens, entry)) {
      problem = "the declaration of " + entry.name + " is not understood";
      return false;
    }
    parsed.entries.push_back(std::move(entry));
  }
  problem.clear();
  return true;
}

}  // namespace emulator
