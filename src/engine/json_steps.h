/* json_steps.h - the steps of a tokenizer.json: what is done to text around the model itself. */
#ifndef PENSIEVE_ENGINE_JSON_STEPS_H
#define PENSIEVE_ENGINE_JSON_STEPS_H

#include "base/json.h"
#include "engine/vocab.h"

/* What the steps say beside what they put into the vocab_source. */
struct json_steps {
    bool byte_level;            /* the pre-tokeniser ends in GPT-2's byte alphabet */
    bool decodes_bytes, decodes_marks, decodes_fallback;    /* what the decoder undoes */
    bool has_template;          /* the post-processor says what stands around the text */
    struct str first;           /* ... and this token before it; n == 0: none */
    int64_t first_id;
};

/* Each takes the field of that name, which may be null. ERR_FORMAT: names what is not supported. */
bool json_normalizer(struct arena *arena, yyjson_val *value, struct vocab_source *out,
                     struct json_steps *steps, struct err *err);
bool json_pre_tokenizer(struct arena *arena, yyjson_val *value, struct vocab_source *out,
                        struct json_steps *steps, struct err *err);
bool json_decoder(struct arena *arena, yyjson_val *value, struct vocab_source *out,
                  struct json_steps *steps, struct err *err);
bool json_post_processor(struct arena *arena, yyjson_val *value, struct vocab_source *out,
                         struct json_steps *steps, struct err *err);

#endif
