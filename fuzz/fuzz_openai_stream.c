/* fuzz_openai_stream.c - any bytes as an upstream's event stream, whole and in random pieces: the same story, of
 * blocks that are opened and closed in turn, and calls whose input is JSON. The first eight bytes seed the cuts. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backend/openai_stream.h"
#include "backend/sse.h"
#include "base/json.h"
#include "base/random.h"

enum { SEED_BYTES = 8, PIECE_MAX = 64 };

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

struct listener {
    struct openai_stream stream;
    struct err err;
    struct buf story, input;
    enum block_type type;
    bool started, open, silent;
};

static void hear(void *context, const struct gen_event *event)
{
    struct listener *listener = context;

    CHECK(listener->started == (event->type != GEN_STARTED));
    listener->started = true;
    CHECK(listener->open == (event->type == GEN_DELTA || event->type == GEN_BLOCK_STOP));
    if (event->type == GEN_BLOCK_START) {
        listener->open = true;
        listener->type = event->block_type;
        buf_reset(&listener->input);
        buf_printf(&listener->story, "<%d %.*s>", event->block_type, STR_ARG(event->tool_name));
    } else if (event->type == GEN_DELTA) {
        buf_str(&listener->story, event->text);
        buf_str(&listener->input, event->text);
    } else if (event->type == GEN_BLOCK_STOP) {
        struct arena *arena = arena_new(4096);
        yyjson_val *root;
        CHECK(listener->type != BLOCK_TOOL_USE ||
              json_parse(arena, buf_view(&listener->input), &root, NULL));
        arena_free(arena);
        listener->open = false;
        buf_cstr(&listener->story, "</>");
    }
}

static bool chunk(void *context, struct str name, struct str data)
{
    struct listener *listener = context;

    (void)name;
    return openai_stream_chunk(&listener->stream, data, &listener->err);
}

static void hear_all(struct listener *listener, struct str bytes, struct rng *rng)
{
    static const struct hash_key secret[2] = {{1, 2}, {3, 4}};
    static const struct message_request request = {.thinking = {.kind = THINKING_ADAPTIVE}};
    struct arena *arena = arena_new(4096), *scratch = arena_new(4096);
    struct gen_event done;
    struct signer signer;
    struct sse sse;
    bool fine = true;

    signer_init(&signer, secret);
    *listener = (struct listener){
        .stream = {.request = &request, .scratch = scratch,
                   .told = {.arena = arena, .signer = &signer, .silent = &listener->silent,
                            .on_event = hear, .context = listener}}};
    sse_init(&sse);
    while (bytes.n && fine) {
        const size_t most = rng ? 1 + rng_next(rng) % PIECE_MAX : bytes.n;
        const size_t n = most < bytes.n ? most : bytes.n;
        char *piece = malloc(n);        /* its own, so that reading beyond it is seen */
        memcpy(piece, bytes.s, n);
        fine = sse_feed(&sse, (struct str){piece, n}, chunk, listener, &listener->err);
        free(piece);
        bytes = (struct str){bytes.s + n, bytes.n - n};
    }
    if (fine && openai_stream_end(&listener->stream, &done, &listener->err)) {
        CHECK(!listener->open);
        buf_printf(&listener->story, "%d", done.stop_reason);
    } else {
        CHECK(listener->err.code != ERR_NONE && listener->err.text[0]);
        buf_cstr(&listener->story, listener->err.text);
    }
    openai_stream_release(&listener->stream);
    sse_release(&sse);
    buf_release(&listener->input);
    arena_free(arena);
    arena_free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct listener whole, pieces;
    struct rng rng;
    uint64_t seed;

    if (size < SEED_BYTES)
        return 0;
    memcpy(&seed, data, SEED_BYTES);
    rng_seed(&rng, seed);
    const struct str bytes = {(const char *)data + SEED_BYTES, size - SEED_BYTES};
    hear_all(&whole, bytes, NULL);
    hear_all(&pieces, bytes, &rng);
    CHECK(str_equal(buf_view(&whole.story), buf_view(&pieces.story)));
    buf_release(&whole.story);
    buf_release(&pieces.story);
    return 0;
}
