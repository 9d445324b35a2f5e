/* sayings.c - see sayings.h. */
#include "backend/sayings.h"

#include <stdlib.h>

struct head {
    uint8_t kind, type, broken;
    size_t n;
};

void sayings_put(struct sayings *sayings, const struct saying *saying)
{
    struct buf *bytes = &sayings->bytes;
    struct head head = {.kind = (uint8_t)saying->kind, .type = (uint8_t)saying->type,
                        .broken = saying->broken, .n = saying->text.n};

    if (saying->kind == SAYING_MORE && sayings->more) {
        if (!buf_str(bytes, saying->text))
            abort();                    /* as arenas do: the machine is out of memory */
        memcpy(&head, bytes->data + sayings->more_at, sizeof head);
        head.n += saying->text.n;
        memcpy(bytes->data + sayings->more_at, &head, sizeof head);
        return;
    }
    const size_t at = bytes->n;
    if (!buf_reserve(bytes, sizeof head + saying->text.n))
        abort();
    buf_append(bytes, &head, sizeof head);
    buf_str(bytes, saying->text);
    sayings->more = saying->kind == SAYING_MORE;
    sayings->more_at = at;
}

void sayings_reset(struct sayings *sayings)
{
    buf_reset(&sayings->bytes);
    sayings->more = false;
}

void sayings_release(struct sayings *sayings)
{
    buf_release(&sayings->bytes);
    sayings->more = false;
}

bool sayings_take(struct str *bytes, struct saying *saying)
{
    struct head head;

    if (bytes->n < sizeof head)
        return false;
    memcpy(&head, bytes->s, sizeof head);
    saying->kind = (int)head.kind;
    saying->type = (enum block_type)head.type;
    saying->broken = head.broken;
    saying->text = (struct str){bytes->s + sizeof head, head.n};
    *bytes = (struct str){bytes->s + sizeof head + head.n, bytes->n - sizeof head - head.n};
    return true;
}
