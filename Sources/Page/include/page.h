// The web page of the server, embedded: its style, its markup and its script, UTF-8.
#ifndef PAGE_H
#define PAGE_H

#include <stddef.h>

struct page_part {
  const unsigned char *_Nonnull bytes;
  size_t size;
};

struct page_part page_style(void);
struct page_part page_body(void);
struct page_part page_script(void);

#endif
