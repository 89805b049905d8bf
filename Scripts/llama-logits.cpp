#include <cstdio>
#include <cstdlib>
#include <vector>

#include "llama.h"

// Writes the logits of every token of a prompt as float32, [tokens][vocabulary].
// usage: llama-logits MODEL.gguf ID...
int main(int count, char** arguments) {
  llama_log_set([](ggml_log_level level, const char* text, void*) {
    if (level >= GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
  }, nullptr);
  llama_backend_init();
  llama_model* model = llama_model_load_from_file(arguments[1], llama_model_default_params());
  if (!model) return 1;
  std::vector<llama_token> tokens;
  for (int i = 2; i < count; i++) tokens.push_back(atoi(arguments[i]));
  llama_context_params parameters = llama_context_default_params();
  parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = 512;
  parameters.n_threads = parameters.n_threads_batch = 1;
  llama_context* context = llama_init_from_model(model, parameters);
  if (!context) return 2;
  llama_batch batch = llama_batch_init(tokens.size(), 0, 1);
  batch.n_tokens = tokens.size();
  for (size_t i = 0; i < tokens.size(); i++) {
    batch.token[i] = tokens[i];
    batch.pos[i] = i;
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = 0;
    batch.logits[i] = 1;
  }
  if (llama_decode(context, batch) != 0) return 3;
  size_t vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
  for (size_t i = 0; i < tokens.size(); i++) fwrite(llama_get_logits_ith(context, i), 4, vocabulary, stdout);
}
