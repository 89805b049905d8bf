// SHA-256 with the processor's own instructions.
#ifndef CHASH_H
#define CHASH_H

#include <stddef.h>
#include <stdint.h>

/// Takes whole blocks of 64 bytes into the hash's eight words; `constants`: the 64 words of FIPS 180-4.
typedef void (*HashBlocks)(uint32_t *_Nonnull words, const uint8_t *_Nonnull blocks, size_t count,
                           const uint32_t *_Nonnull constants);

/// The function for this processor; NULL if it has no such instructions.
HashBlocks _Nullable hash_sha256_blocks(void);

#endif
