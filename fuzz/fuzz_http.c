/* fuzz_http.c - the HTTP reader: any bytes, read whole and in random pieces, must give the same
 * requests or the same refusal, within the limits. The first eight bytes seed the cuts. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/random.h"
#include "server/http.h"
#include "server/limits.h"

enum { SEED_BYTES = 8, HEAD_MAX = 2048, BODY_MAX = 1024, PIECE_MAX = 64 };

static const struct hash_key key = {1, 2};

struct outcome {
    uint64_t digest;                    /* of all that was read */
    unsigned heads, messages;
    enum err_code failed;
};

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

static void digest(struct outcome *outcome, struct str s)
{
    const uint64_t parts[] = {outcome->digest, hash_bytes(key, s.s, s.n), s.n};
    outcome->digest = hash_bytes(key, parts, sizeof parts);
}

static void take_head(struct outcome *outcome, const struct http_reader *reader)
{
    outcome->heads++;
    CHECK(reader->headers_n <= HTTP_HEADERS_MAX && reader->head_n <= HEAD_MAX);
    CHECK(reader->target_n <= HTTP_TARGET_BYTES_MAX && http_path(reader).n > 0);
    digest(outcome, str_of(reader->method_name));
    digest(outcome, http_path(reader));
    digest(outcome, http_query(reader));
    for (size_t i = 0; i < reader->headers_n; i++) {
        digest(outcome, http_header_name(reader, i));
        digest(outcome, http_header_value(reader, i));
    }
}

static struct outcome read_all(struct str bytes, struct rng *rng)
{
    struct http_reader reader;
    struct outcome outcome = {0};
    struct err err = {0};

    http_reader_init(&reader, HEAD_MAX, BODY_MAX);
    while (bytes.n && outcome.failed == ERR_NONE) {
        size_t n = rng ? 1 + rng_next(rng) % PIECE_MAX : bytes.n;
        n = n < bytes.n ? n : bytes.n;
        char *piece = malloc(n);        /* its own, so that reading beyond it is seen */
        memcpy(piece, bytes.s, n);
        bytes = (struct str){bytes.s + n, bytes.n - n};
        struct str input = {piece, n};
        enum http_step step;
        do {
            step = http_reader_feed(&reader, &input, &err);
            CHECK(reader.body_n <= BODY_MAX && reader.body.n == reader.body_n);
            if (step == HTTP_STEP_FAILED) {
                outcome.failed = err.code;
                CHECK(err.code != ERR_NONE && err.text[0]);
            } else if (step == HTTP_STEP_HEAD) {
                take_head(&outcome, &reader);
            } else if (step == HTTP_STEP_MESSAGE) {
                outcome.messages++;
                digest(&outcome, buf_view(&reader.body));
                http_reader_next(&reader, BODY_MAX);
            } else {
                CHECK(input.n == 0);
            }
        } while (step == HTTP_STEP_HEAD || (step == HTTP_STEP_MESSAGE && input.n));
        free(piece);
    }
    http_reader_release(&reader);
    CHECK(outcome.messages <= outcome.heads && outcome.heads <= outcome.messages + 1);
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t seed;
    struct rng rng;

    if (size < SEED_BYTES)
        return 0;
    memcpy(&seed, data, SEED_BYTES);
    rng_seed(&rng, seed);
    const struct str bytes = {(const char *)data + SEED_BYTES, size - SEED_BYTES};
    const struct outcome whole = read_all(bytes, NULL), pieces = read_all(bytes, &rng);
    /* Bytes that break two rules may be refused for either. */
    CHECK((whole.failed == ERR_NONE) == (pieces.failed == ERR_NONE));
    CHECK(whole.messages == pieces.messages);
    CHECK(whole.heads == pieces.heads && whole.digest == pieces.digest);
    return 0;
}
