#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>
#include "llama.h"

// Writes the token ids of every text of standard input, one line for each. A text is its length in bytes, a newline
// and the bytes. Nothing is added, and special tokens in texts are recognised.
// usage: llama-tokens MODEL.gguf plain|special
int main(int count, char** arguments) {
  llama_log_set([](ggml_log_level level, const char* text, void*) {
    if (level >= GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
  }, nullptr);
  llama_backend_init();
  llama_model_params parameters = llama_model_default_params();
  parameters.vocab_only = true;
  llama_model* model = llama_model_load_from_file(arguments[1], parameters);
  if (!model) return 1;
  const llama_vocab* vocabulary = llama_model_get_vocab(model);
  bool parses = count > 2 && arguments[2][0] == 's';
  int length;
  while (scanf("%d", &length) == 1) {
    getchar();
    std::string text(length, ' ');
    if (fread(text.data(), 1, length, stdin) != (size_t)length) return 2;
    std::vector<llama_token> ids(length + 16);
    int found = llama_tokenize(vocabulary, text.data(), length, ids.data(), ids.size(), false, parses);
    if (found < 0) return 3;
    for (int i = 0; i < found; i++) printf(i ? " %d" : "%d", ids[i]);
    printf("\n");
  }
}
