/* pensieve_text.h - bytes that the Rust side hands over. */
#ifndef PENSIEVE_TEXT_H
#define PENSIEVE_TEXT_H

#include <stddef.h>

/* They belong to Rust until glue_text_free; a zeroed struct is empty. */
struct glue_text {
    char *s;
    size_t n;
};

void glue_text_free(struct glue_text *text);

#endif
