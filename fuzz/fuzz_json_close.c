/* fuzz_json_close.c - whatever a parser takes as JSON, each beginning of it can be closed. */
#include <stdlib.h>

#include "base/json_close.h"

#include <yyjson.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size < 512 ? size : 512};
    struct buf out = {0};

    json_close(&out, text);
    yyjson_doc *doc = yyjson_read(text.s, text.n, 0);
    const bool whole = doc != NULL;
    yyjson_doc_free(doc);
    for (; whole && text.n > 0; text.n--) {
        buf_reset(&out);
        if ((text.s[text.n - 1] & 0x80) == 0 && !json_close(&out, text))
            abort();
    }
    buf_release(&out);
    return 0;
}
