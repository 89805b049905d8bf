#include "CUDAKernels.h"

// #embed is standard from C23 on and an extension before.
#pragma clang diagnostic ignored "-Wc23-extensions"

// Loading a module takes the text up to a NUL.
static const char attention_decode[] = {
#embed "ptx/attention_decode.ptx" suffix(, 0)
};
static const char attention_prompt[] = {
#embed "ptx/attention_prompt.ptx" suffix(, 0)
};
static const char attention_window[] = {
#embed "ptx/attention_window.ptx" suffix(, 0)
};
static const char decode[] = {
#embed "ptx/decode.ptx" suffix(, 0)
};
static const char decode_one[] = {
#embed "ptx/decode_one.ptx" suffix(, 0)
};
static const char decode_resident[] = {
#embed "ptx/decode_resident.ptx" suffix(, 0)
};
static const char decode_traced[] = {
#embed "ptx/decode_traced.ptx" suffix(, 0)
};
static const char few[] = {
#embed "ptx/few.ptx" suffix(, 0)
};
static const char gemm[] = {
#embed "ptx/gemm.ptx" suffix(, 0)
};
static const char gemv[] = {
#embed "ptx/gemv.ptx" suffix(, 0)
};
static const char head[] = {
#embed "ptx/head.ptx" suffix(, 0)
};
static const char normed[] = {
#embed "ptx/normed.ptx" suffix(, 0)
};
static const char resident_traced[] = {
#embed "ptx/resident_traced.ptx" suffix(, 0)
};
static const char rotary[] = {
#embed "ptx/rotary.ptx" suffix(, 0)
};
static const char rows[] = {
#embed "ptx/rows.ptx" suffix(, 0)
};
static const char sample[] = {
#embed "ptx/sample.ptx" suffix(, 0)
};
static const char screen[] = {
#embed "ptx/screen.ptx" suffix(, 0)
};
static const char screen_cuts[] = {
#embed "ptx/screen_cuts.ptx" suffix(, 0)
};

#define IMAGE(name) {#name, name, sizeof name}
static const KernelImage images[] = {
    IMAGE(attention_decode),
    IMAGE(attention_prompt),
    IMAGE(attention_window),
    IMAGE(decode),
    IMAGE(decode_one),
    IMAGE(decode_resident),
    IMAGE(decode_traced),
    IMAGE(few),
    IMAGE(gemm),
    IMAGE(gemv),
    IMAGE(head),
    IMAGE(normed),
    IMAGE(resident_traced),
    IMAGE(rotary),
    IMAGE(rows),
    IMAGE(sample),
    IMAGE(screen),
    IMAGE(screen_cuts),
};

const KernelImage *cuda_kernel_images(size_t *count) {
  *count = sizeof images / sizeof images[0];
  return images;
}
