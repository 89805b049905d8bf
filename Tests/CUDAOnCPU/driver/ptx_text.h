// The declarations of a PTX text: its version, its target, and its kernels with the sizes of their parameters.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#pragma GCC visibility push(hidden)

namespace emulator {

struct PTXEntry {
  std::string name;
  std::vector<size_t> parameterSizes;
  int maximumThreads;  // .maxntid, or 1024
};

struct PTXText {
  int version;  // 81 is 8.1
  int target;   // 80 is sm_80
  std::vector<PTXEntry> entries;
};

// Returns false if the text is not PTX; `problem` then says why.
bool parse(std::string_view text, PTXText &parsed, std::string &problem);

}  // namespace emulator

#pragma GCC visibility pop
