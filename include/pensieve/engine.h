/* engine.h - the engine's public face: a model on disk, and sequences of tokens it continues.
 *
 * One engine is one model, one engine thread and its workers. Calls marked [any] may come from any
 * thread; the callbacks of a sequence come on the engine thread and must return quickly: hand the
 * work over through a queue. The engine knows tokens, not messages: no JSON, no HTTP, no Anthropic. */
#ifndef PENSIEVE_ENGINE_H
#define PENSIEVE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

struct engine;
struct sequence;

/* Which of a longrope model's two lists of factors turns the positions of a sequence: as the model is
 * defined, the short one up to its original context and the long one for all of it past that (the
 * sequence is then computed anew), or always the same one, as some other engines do. */
enum longrope { LONGROPE_AUTO, LONGROPE_SHORT, LONGROPE_LONG };

/* Whether tokens that can be guessed from what was said before are computed together, where that
 * pays; the text is the same one either way. ALWAYS: wherever there is a guess, also at a loss. */
enum speculate { SPECULATE_AUTO, SPECULATE_OFF, SPECULATE_ALWAYS };

struct engine_options {
    const char *model_path;     /* a GGUF file, or a model's folder */
    const char *cpu;            /* kernel table to force ("scalar", "avx2", ...); NULL: the best */
    uint32_t threads;           /* engine thread included; 0: one a core */
    uint32_t context;           /* tokens a sequence may hold; 0: the model's own, or as much of it
                                 * as kv_bytes_max holds */
    uint32_t prefill_chunk;     /* prompt tokens a step at most; 0: the default (256) */
    uint32_t step_ms;           /* while others write, a step takes so many prompt tokens as fit into
                                 * about this time; 0: a chunk */
    uint32_t sequences_max;     /* in one step at most; 0: the default (64) */
    uint32_t queue_max;         /* waiting at most; 0: the default (256) */
    uint64_t kv_bytes_max;      /* all KV pages together; 0: engine_kv_default of one context */
    const char *cache_dir;      /* where full pages are kept on disk, for all models; NULL: nowhere */
    uint64_t cache_disk_max;    /* bytes there, all models together, also at most half of what is
                                 * free; 0: nothing is kept */
    enum longrope longrope;
    enum speculate speculate;
};

/* What `check`, /health and the API's model list need to know of a model. Strings live as long as
 * the engine. */
struct model_info {
    struct str path, name, architecture, types;     /* types: "q4_1 210, f32 61, q8_0 1" */
    struct str format;                              /* of the files: "gguf", "mlx", "hf" */
    struct str tokenizer, chat_template;            /* template: n == 0 if the file has none */
    struct str bos, eos;                            /* texts of the tokens, for templates */
    uint64_t parameters, file_bytes;
    uint32_t context_trained, context, layers, hidden, heads, kv_heads, head_dim, vocab_size;
    uint32_t window, windowed;                      /* positions that `windowed` of the layers see */
    uint32_t experts, experts_used;                 /* 0: the model is dense */
    uint32_t longrope;                              /* longer sequences turn otherwise; 0: none */
    uint64_t kv_bytes_token;                        /* of one position, all layers */
    float temperature, top_p, top_k;                /* as the makers advise; < 0: they say nothing */
};

/* One context's worth of keys and values, but at most a quarter of the machine's memory, and at least
 * 1 GiB for several conversations. Memory is touched only as it is needed. */
uint64_t engine_kv_default(uint64_t context_bytes);

/* Opens, checks and maps the model, starts the threads. Errors: ERR_IO, ERR_FORMAT, ERR_USAGE. */
struct engine *engine_open(const struct engine_options *options, struct err *err);
/* Ends what still runs with ERR_OVERLOADED "shutting down", joins the threads, unmaps. Nobody else
 * may be in a call of this engine. */
void engine_close(struct engine *engine);
const struct model_info *engine_info(const struct engine *engine);              /* [any] */
const char *engine_cpu(const struct engine *engine);        /* the kernel table in use */

struct tokens {
    int32_t *ids;
    size_t n;
};

/* A run of text bytes in which the spellings of control tokens are plain text. */
struct plain_range {
    size_t begin, end;
};

/* [any] A pure function over the arena. Outside `plain` (sorted, disjoint), spellings of special
 * tokens become those tokens; inside, they are tokenised like any other text. Adds no BOS unless
 * the model's tokenizer asks for one and add_bos is set. text must be valid UTF-8. */
bool engine_tokenize(const struct engine *engine, struct arena *arena, struct str text,
                     const struct plain_range *plain, size_t plain_n, bool add_bos,
                     struct tokens *out, struct err *err);
/* A run of text bytes that stands for tokens known already. */
struct given_range {
    size_t begin, end;
    const int32_t *ids;
    size_t ids_n;
};

/* A text of which more is known. The ranges are sorted and disjoint among their kind. */
struct known_text {
    struct str text;
    const struct plain_range *plain;
    size_t plain_n;
    const struct given_range *given;    /* no token reaches over the border of one */
    size_t given_n;
    const size_t *cuts;                 /* places whose position in tokens is wanted, any order */
    size_t cuts_n;
    bool add_bos;
};
/* [any] The same with given ranges: the text on each side of one is tokenised as if nothing stood
 * behind it, or as the continuation of what stands before it. cut_tokens: [cuts_n], for each cut the
 * longest beginning of the tokens that the text before it alone would give as well. */
bool engine_tokenize_known(const struct engine *engine, struct arena *arena,
                           const struct known_text *known, struct tokens *out,
                           uint32_t *cut_tokens, struct err *err);
/* [any] The bytes of one token (may be a part of a character); a control token gives n == 0 unless
 * `control` is set, then its spelling. An id out of range gives n == 0. */
struct str engine_token_text(const struct engine *engine, int32_t id, bool control);
/* [any] Whether it is a control token: one that writes no text. */
bool engine_token_control(const struct engine *engine, int32_t id);
/* [any] Whether the token ends the model's turn. */
bool engine_token_ends(const struct engine *engine, int32_t id);

/* ---- constraints: what a sequence may say ---- */

enum { CONSTRAINT_TOKENS_MAX = 256 };

enum grammar_language { GRAMMAR_JSON_SCHEMA, GRAMMAR_LARK, GRAMMAR_REGEX };

/* One grammar of a set. Lark is llguidance's variant of it: a control token is <|its_name|>, another
 * part is @its_name. */
struct grammar_part {
    enum grammar_language language;
    struct str name;            /* letters, digits, _ and -; may be "" in a set of one */
    struct str text;            /* UTF-8 */
    bool loose;                 /* a JSON Schema that can't be compiled at all, or not together with the
                                 * others, becomes {"type": "object"} instead of an error */
};

enum {
    GRAMMAR_PARTS_MAX = 256,
    GRAMMAR_BYTES_MAX = 4 << 20,        /* all texts of a set */
};

struct grammar_source {
    const struct grammar_part *parts;   /* the answer begins in the first */
    size_t parts_n;
    /* Refuse a JSON Schema with a keyword that can't be enforced; else that keyword is left out. */
    bool strict;
    /* Set by engine_constraint_new: the tokenizer puts a space before a text's first word. */
    bool spaced;
};

struct constraint;

/* [any] May take milliseconds, or seconds for a hostile grammar: not for a thread that others wait
 * for. Compiled grammars are kept by their content. *loosened (in the arena; arena NULL: not wanted):
 * the keywords that were left out, as JSON pointers with the part's name before them if there are
 * several parts, each ended by a newline; n == 0: all is enforced. ERR_INVALID: not a grammar, too
 * big, unsatisfiable, or strict and not enforceable (the text names the place); ERR_OVERLOADED: no
 * memory. Goes to the sequence with engine_submit, if that succeeds; otherwise constraint_free. */
struct constraint *engine_constraint_new(struct engine *engine, struct arena *arena,
                                         const struct grammar_source *source,
                                         struct str *loosened, struct err *err);
/* [any] Exactly these tokens, which may be control tokens: at least one, at most CONSTRAINT_TOKENS_MAX,
 * all of the vocabulary, none an end. ERR_OVERLOADED: no memory. */
struct constraint *engine_constraint_tokens(const int32_t *ids, size_t n, struct err *err);
/* [any] before it is given to a sequence: as if this text had been said under it. false: it does not allow
 * that, or there would be nothing left to say; then it is of no more use. */
bool engine_constraint_begin(const struct engine *engine, struct constraint *constraint,
                             struct str text);
void constraint_free(struct constraint *constraint);    /* [any] NULL is allowed */

/* What comes when nothing more can follow of what a constraint allows. */
enum constraint_after {
    CONSTRAINT_THEN_END,        /* the sequence's end. When the tokens that are left are just enough to
                                 * complete it on a short way that is known, that way is taken */
    CONSTRAINT_THEN_FREE,       /* anything, until another constraint is given */
};

struct sampling {
    float temperature;          /* 0: the most likely token, always the same one */
    float top_p;                /* 1: off */
    uint32_t top_k;             /* 0: off */
    uint64_t seed;
};

/* What a sequence is for, the most urgent first. Each of an owner's ranks gets a share of the engine's
 * time while it has work; none ever waits for ever (docs/scheduler.md). */
enum sequence_rank {
    RANK_MAIN,                  /* a person waits for it */
    RANK_AGENT,                 /* a helper that the main one started */
    RANK_SIDE,                  /* titles, summaries, guesses at what comes next */
    RANK_BATCH,                 /* nobody waits for it */
    SEQUENCE_RANKS
};

enum sequence_end {
    SEQUENCE_END_TOKEN,         /* the model ended its turn */
    SEQUENCE_MAX_TOKENS,
    SEQUENCE_CONTEXT_FULL,
    SEQUENCE_STOPPED,           /* on_token said so */
    SEQUENCE_CANCELLED,
    SEQUENCE_FAILED,            /* see error */
};

/* A beginning of the prompt that is declared worth keeping: what `cache_control` asks for. */
struct cache_mark {
    uint32_t tokens;            /* the first so many of the prompt, at least one */
    uint32_t seconds;           /* from its last use */
};
enum { CACHE_MARKS_MAX = 4 };

/* What of the prompt was there already. memory_tokens and disk_tokens were found; the rest of
 * prompt_tokens is computed, the last token always. */
struct sequence_start {
    uint32_t prompt_tokens, memory_tokens, disk_tokens;
    uint32_t marked_tokens;     /* the longest beginning that was declared by a mark, in the same
                                   space, is still live, and whose full pages were found; 0: none */
    uint32_t diverged_at;       /* the first token that differs from the nearest continuation in
                                   memory; what was found, if nothing goes on from there */
};

struct sequence_result {
    enum sequence_end end;
    struct err error;           /* FAILED only */
    struct sequence_start start;    /* as at on_start; memory_tokens with what others computed of the
                                       same prompt meanwhile */
    uint32_t output_tokens;     /* sampled, an end token included */
    uint32_t decode_steps, drafted_tokens, accepted_tokens;     /* after the first token: steps it
                                   took; guesses computed in them, and those that were right */
    struct str tail;            /* what is left of the text: a character never completed, as U+FFFD */
    double queue_ms, prefill_ms, decode_ms; /* wait for a slot; first step to first token; the rest */
};

struct sequence_params {
    const int32_t *tokens;      /* the prompt, at least one; copied by engine_submit */
    size_t tokens_n;            /* at most the context; equal to it: ends CONTEXT_FULL at once */
    uint32_t max_tokens;        /* 0: prefill only */
    bool continues;             /* the prompt ends within the answer: its text may begin with a space
                                   that tokenizers with one before the first word else drop */
    struct sampling sampling;
    uint64_t owner;             /* whose it is (a key); owners share the engine's time evenly */
    uint64_t flow;              /* the owner's conversation it belongs to, so do an owner's flows;
                                   0: one of its own */
    enum sequence_rank rank;
    /* NULL: anything may be said. Else tokens are chosen among those it allows, as freely as sampling
     * says. The end that comes then is END_TOKEN. sequence_constrain changes it on the way. */
    struct constraint *constraint;
    enum constraint_after constraint_after;     /* what comes when it is complete */
    uint64_t space;             /* prefixes are shared, found and timed only within it; the same after
                                   a restart, for what is on disk. 0: the common one */
    const struct cache_mark *marks;     /* ascending; copied by engine_submit */
    uint32_t marks_n;           /* at most CACHE_MARKS_MAX */
    void *context;              /* of the callbacks */
    /* Once, when it is first admitted and what the disk has of it is read, before any token; may be
     * NULL. Not at all for a sequence that ends before. */
    void (*on_start)(void *context, const struct sequence_start *start);
    /* Each sampled token that is not an end token, with the characters it completes: valid UTF-8,
     * maybe none yet; a control token completes none. false: stop here (SEQUENCE_STOPPED). */
    bool (*on_token)(void *context, struct sequence *sequence, int32_t id, struct str text);
    /* Exactly once, the last call for this sequence. */
    void (*on_done)(void *context, const struct sequence_result *result);
};

/* [any] ERR_OVERLOADED: the queue is full or the engine is closing; ERR_RATE: three quarters of the
 * queue are this owner's already (nothing will be called then). engine_stats says when to come again.
 * ERR_INVALID: an empty or too long prompt, a token out of range, marks that are not
 * ascending. */
struct sequence *engine_submit(struct engine *engine, const struct sequence_params *params,
                               struct err *err);
/* [any] Until sequence_free, and not while engine_close runs. Cancel takes effect between steps:
 * within one prefill chunk. */
void sequence_cancel(struct sequence *sequence);
void sequence_pause(struct sequence *sequence);     /* keeps its pages, takes no part in steps */
void sequence_resume(struct sequence *sequence);
/* From this sequence's on_token only: from the next token on it is held to this constraint, which becomes
 * its own, instead of to the one it had, also where that is complete now. NULL: to none. Without effect when
 * the short way to the end is being taken: that is settled. */
void sequence_constrain(struct sequence *sequence, struct constraint *constraint,
                        enum constraint_after after);
/* Once, after on_done was called; waits until on_done has returned, so not from a callback. After it
 * nobody holds the handle or the callbacks' context. May come after engine_close. */
void sequence_free(struct sequence *sequence);

struct engine_stats {
    uint32_t queued, running, sequences_max, queue_max;
    uint32_t queued_by[SEQUENCE_RANKS];         /* queued: their sum */
    uint64_t admitted[SEQUENCE_RANKS];          /* since the start, and */
    double waited_ms[SEQUENCE_RANKS];           /* how long they were queued, all together */
    uint32_t retry_after_s;     /* until a place in the queue is free, as it looks now: 1 to 60 */
    uint64_t kv_pages_total, kv_pages_used, kv_pages_cached;    /* cached: kept but unreferenced */
    uint64_t kv_page_bytes;
    uint64_t kv_pages_pinned;           /* of the cached: by a mark that is live */
    uint64_t kv_evictions, kv_evictions_pinned;                 /* since the start */
    uint64_t disk_bytes, disk_bytes_max;        /* of this model's pages on disk; 0: none are kept */
    uint64_t disk_pages_written, disk_pages_read, disk_pages_dropped;   /* since the start; dropped:
                                                                         * found damaged */
    uint64_t prompt_tokens, cached_tokens, output_tokens;       /* since the start */
    uint64_t prefill_tokens, preemptions;       /* computed of prompts, some again after these */
    uint64_t decode_steps, drafted_tokens, accepted_tokens;     /* of all sequences, as in a result */
    double prefill_tps, decode_tps;     /* tokens a second over the last few seconds of such work */
};
void engine_stats(const struct engine *engine, struct engine_stats *stats);     /* [any] */

#endif
