#include "DemoModel.h"

// #embed is standard from C23 on and an extension before; it reads the file at compile time and costs no initialiser
// list.
#pragma clang diagnostic ignored "-Wc23-extensions"

static _Alignas(64) const unsigned char bytes[] = {
#embed "demo.safetensors"
};

const void *demo_model_bytes(void) { return bytes; }
size_t demo_model_size(void) { return sizeof bytes; }
