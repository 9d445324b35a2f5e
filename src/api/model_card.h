/* model_card.h - a model as GET /v1/models shows it. */
#ifndef PENSIEVE_API_MODEL_CARD_H
#define PENSIEVE_API_MODEL_CARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

struct model_card {
    struct str id, display_name;
    int64_t created_at;         /* unix seconds; 0 if unknown */
    uint32_t max_input_tokens, max_tokens;
    bool structured;            /* answers are held to output_config.format */
    bool thinks;                /* false, too, as long as it isn't known */
    bool effort;                /* it goes by output_config.effort; false as above */
};

void model_card_json(struct buf *out, const struct model_card *card);
/* One page: data, has_more, first_id, last_id. */
void model_page_json(struct buf *out, const struct model_card *cards, size_t n, bool has_more);

#endif
