/* caller.c - see caller.h. */
#include "backend/caller.h"

#include "base/buf.h"
#include "base/hash.h"
#include "base/random.h"

/* Within the process only: nothing is named by it that lives longer. */
static uint64_t hash_of(const struct buf *buf)
{
    const uint64_t hash = hash_bytes(hash_process_key(), buf->data, buf->n);

    return hash ? hash : 1;
}

/* metadata.user_id is JSON with a session_id, or ends in _session_ID. */
static struct str session_in(struct str user_id)
{
    static const char *const before[] = {"\"session_id\":\"", "_session_"};

    for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
        const size_t n = strlen(before[i]);
        const char *found = user_id.n ? memmem(user_id.s, user_id.n, before[i], n) : NULL;
        if (!found)
            continue;
        const struct str rest = {found + n, user_id.n - (size_t)(found + n - user_id.s)};
        const char *quote = rest.n ? memchr(rest.s, '"', rest.n) : NULL;
        return (struct str){rest.s, quote ? (size_t)(quote - rest.s) : rest.n};
    }
    return (struct str){0};
}

static void put(struct buf *out, struct str text)
{
    buf_append(out, &text.n, sizeof text.n);
    buf_str(out, text);
}

uint64_t caller_flow(const struct message_request *request)
{
    const struct request_caller *caller = &request->caller;
    const struct str session = caller->session.n ? caller->session : session_in(request->user_id);
    struct buf told = {0};

    if (session.n) {
        put(&told, session);
    } else {
        for (size_t i = 0; i < request->system_n; i++)
            put(&told, request->system[i].text);
        for (size_t i = 0; i < request->messages[0].blocks_n; i++)
            put(&told, request->messages[0].blocks[i].text);
    }
    put(&told, caller->agent);
    const uint64_t flow = hash_of(&told);
    buf_release(&told);
    return flow;
}

enum sequence_rank caller_rank(const struct message_request *request)
{
    const struct request_caller *caller = &request->caller;

    if (request->max_tokens == 0)
        return RANK_SIDE;
    if (caller->agent.n)
        return RANK_AGENT;
    return caller->session.n && !request->has_tools && request->format.schema.n ? RANK_SIDE : RANK_MAIN;
}

struct sampling caller_sampling(const struct message_request *request,
                                const struct model_info *info,
                                const struct native_options *options)
{
    const bool advised = options->advised;
    struct sampling sampling = {
        .temperature = advised && info->temperature >= 0 ? info->temperature : 1,
        .top_p = advised && info->top_p > 0 ? info->top_p : 1,
        .top_k = advised && info->top_k > 0 ? (uint32_t)info->top_k : 0,
        .seed = options->seeded ? options->seed : random_u64(),
    };

    if (request->has_temperature)
        sampling.temperature = (float)request->temperature;
    if (request->has_top_p)
        sampling.top_p = (float)request->top_p;
    if (request->has_top_k)
        sampling.top_k = request->top_k < 0            ? 0
                         : request->top_k < UINT32_MAX ? (uint32_t)request->top_k
                                                       : UINT32_MAX;
    return sampling;
}
