#include "page.h"

// #embed is standard from C23 on and an extension before; it reads the files at compile time.
#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char style[] = {
#embed "style.css"
};

static const unsigned char body[] = {
#embed "body.html"
};

// One module: the files share one scope, in this order.
static const unsigned char script[] = {
#embed "dom.js" suffix(,)
#embed "markdown.js" suffix(,)
#embed "store.js" suffix(,)
#embed "client.js" suffix(,)
#embed "activity.js" suffix(,)
#embed "settings.js" suffix(,)
#embed "message.js" suffix(,)
#embed "main.js"
};

struct page_part page_style(void) { return (struct page_part){style, sizeof style}; }
struct page_part page_body(void) { return (struct page_part){body, sizeof body}; }
struct page_part page_script(void) { return (struct page_part){script, sizeof script}; }
