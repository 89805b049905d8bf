// The demo model's file, embedded: a small BitNet b1.58 model that writes fairy tales, in the converted form.
#ifndef DEMO_MODEL_H
#define DEMO_MODEL_H

#include <stddef.h>

/// The file's bytes, aligned to 64.
const void *_Nonnull demo_model_bytes(void);
size_t demo_model_size(void);

#endif
