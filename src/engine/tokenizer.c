/* tokenizer.c - cuts text at spelled tokens, the rest into words, and merges each word's bytes.
 *
 * The hard thing is to stay near-linear in whatever a client sends. A word is a linked list of
 * symbols with a heap of the pairs that may merge, n log n for a megabyte of one letter; spelled
 * tokens are found by narrowing a sorted table byte by byte, without a pass for each token. */
#include "engine/tokenizer.h"

#include <string.h>

#include "base/utf8.h"
#include "engine/pretokenizer.h"

#define NO_RANK UINT32_MAX
enum { SCRATCH_MIN = 256 };

struct symbol {
    int32_t id;
    int32_t prev, next;                 /* indexes, -1: none */
    uint32_t rank;                      /* of merging with next; NO_RANK: they don't, or it is gone */
    int32_t merged;                     /* what they merge into */
};

struct encoder {
    const struct vocab *vocab;
    struct arena *scratch;
    struct splitter *splitter;
    struct symbol *symbols;
    size_t symbols_n, symbols_capacity;
    uint64_t *heap;                     /* rank << 32 | index of the left symbol; least on top */
    size_t heap_n, heap_capacity;
    int32_t *ids;
    size_t n, capacity;
};

static void emit(struct encoder *encoder, int32_t id)
{
    if (encoder->n == encoder->capacity) {
        const size_t capacity = encoder->capacity ? encoder->capacity * 2 : SCRATCH_MIN;
        int32_t *ids = arena_array(encoder->scratch, capacity, sizeof *ids);
        if (encoder->n)
            memcpy(ids, encoder->ids, encoder->n * sizeof *ids);
        encoder->ids = ids;
        encoder->capacity = capacity;
    }
    encoder->ids[encoder->n++] = id;
}

static void heap_put(struct encoder *encoder, uint64_t entry)
{
    uint64_t *heap = encoder->heap;
    size_t at = encoder->heap_n++;

    for (size_t up; at > 0 && heap[up = (at - 1) / 2] > entry; at = up)
        heap[at] = heap[up];
    heap[at] = entry;
}

static uint64_t heap_take(struct encoder *encoder)
{
    uint64_t *heap = encoder->heap;
    const uint64_t top = heap[0], last = heap[--encoder->heap_n];
    size_t at = 0;

    for (size_t down; (down = 2 * at + 1) < encoder->heap_n; at = down) {
        if (down + 1 < encoder->heap_n && heap[down + 1] < heap[down])
            down++;
        if (heap[down] >= last)
            break;
        heap[at] = heap[down];
    }
    heap[at] = last;
    return top;
}

/* Looks up whether a symbol merges with the one after it, and queues the pair if so. */
static void pair_consider(struct encoder *encoder, int32_t left)
{
    struct symbol *symbol = &encoder->symbols[left];

    symbol->rank = NO_RANK;
    if (symbol->next >= 0 && vocab_merge(encoder->vocab, symbol->id,
                                         encoder->symbols[symbol->next].id, &symbol->rank,
                                         &symbol->merged))
        heap_put(encoder, (uint64_t)symbol->rank << 32 | (uint32_t)left);
}

/* Merges pairs, the earliest rule and the leftmost place first, until none is left. An entry of the
 * heap is out of date when its left symbol has another pair, or none, by now. */
static void symbols_merge(struct encoder *encoder)
{
    struct symbol *symbols = encoder->symbols;

    for (size_t i = 0; i < encoder->symbols_n; i++)
        pair_consider(encoder, (int32_t)i);
    while (encoder->heap_n) {
        const uint64_t entry = heap_take(encoder);
        const int32_t left = (int32_t)(uint32_t)entry;
        if (symbols[left].rank != entry >> 32)
            continue;
        struct symbol *gone = &symbols[symbols[left].next];
        symbols[left].id = symbols[left].merged;
        symbols[left].next = gone->next;
        gone->rank = NO_RANK;
        if (gone->next >= 0)
            symbols[gone->next].prev = left;
        pair_consider(encoder, left);
        if (symbols[left].prev >= 0)
            pair_consider(encoder, symbols[left].prev);
    }
}

static void symbol_add(struct encoder *encoder, uint8_t byte)
{
    const int32_t n = (int32_t)encoder->symbols_n++;

    if ((size_t)n == encoder->symbols_capacity) {
        const size_t capacity = n ? 2 * (size_t)n : SCRATCH_MIN;
        struct symbol *symbols = arena_array(encoder->scratch, capacity, sizeof *symbols);
        if (n)
            memcpy(symbols, encoder->symbols, (size_t)n * sizeof *symbols);
        encoder->symbols = symbols;
        encoder->symbols_capacity = capacity;
    }
    encoder->symbols[n] = (struct symbol){.id = vocab_byte(encoder->vocab, byte), .prev = n - 1,
                                          .next = n + 1};
}

static void symbols_of(struct encoder *encoder, struct str word)
{
    encoder->symbols_n = encoder->heap_n = 0;
    for (size_t i = 0, length; i < word.n; i += length) {
        uint32_t c;
        length = utf8_decode((struct str){word.s + i, word.n - i}, &c);
        if (length == 0)
            length = 1;
        bool writable = true;
        for (size_t k = 0; k < length; k++)
            writable &= vocab_byte(encoder->vocab, (uint8_t)word.s[i + k]) >= 0;
        const struct str written = writable ? (struct str){word.s + i, length}
                                            : STR("\xef\xbf\xbd");
        for (size_t k = 0; k < written.n; k++)
            symbol_add(encoder, (uint8_t)written.s[k]);
    }
    encoder->symbols[encoder->symbols_n - 1].next = -1;
    if (encoder->heap_capacity < 2 * encoder->symbols_n) {
        /* Every merge takes one entry away and puts two in at most, and there are n - 1 merges. */
        encoder->heap_capacity = 2 * encoder->symbols_capacity;
        encoder->heap = arena_array(encoder->scratch, encoder->heap_capacity,
                                    sizeof *encoder->heap);
    }
}

static void encode_word(struct encoder *encoder, struct str word)
{
    if (word.n == 1 || pretokenizer_whole_words(vocab_pretokenizer(encoder->vocab))) {
        const int32_t id = vocab_word(encoder->vocab, word);
        if (id >= 0) {
            emit(encoder, id);
            return;
        }
    }
    symbols_of(encoder, word);
    symbols_merge(encoder);
    for (int32_t i = 0; i >= 0; i = encoder->symbols[i].next)
        emit(encoder, encoder->symbols[i].id);
}

/* Valid UTF-8 with no spelled token in it. */
static bool encode_text(struct encoder *encoder, struct str text, struct err *err)
{
    for (size_t at = 0; at < text.n;) {
        struct str word;
        if (!splitter_next(encoder->splitter, text, at, &word, err))
            return false;
        at += word.n;
        while (word.n > TOKENIZER_WORD_BYTES_MAX) {
            size_t cut = TOKENIZER_WORD_BYTES_MAX;
            cut -= utf8_incomplete_tail((struct str){word.s, cut});
            encode_word(encoder, (struct str){word.s, cut});
            word = (struct str){word.s + cut, word.n - cut};
        }
        encode_word(encoder, word);
    }
    return true;
}

static bool encode_fragment(struct encoder *encoder, struct str text, struct err *err)
{
    while (text.n) {
        const size_t valid = utf8_valid_prefix(text);
        if (!encode_text(encoder, (struct str){text.s, valid}, err))
            return false;
        if (valid < text.n)
            encode_word(encoder, (struct str){text.s + valid, 1});
        const size_t done = valid < text.n ? valid + 1 : valid;
        text = (struct str){text.s + done, text.n - done};
    }
    return true;
}

/* The spelled tokens that agree with the text so far are the run [low, high) of the sorted table. */
struct spelled {
    const struct vocab *vocab;
    const int32_t *ids;
    size_t first[257];                  /* [byte]: where spellings that begin with it start */
};

static void spelled_init(struct spelled *spelled, const struct vocab *vocab)
{
    size_t n;

    spelled->vocab = vocab;
    spelled->ids = vocab_spelled(vocab, &n);
    for (size_t byte = 0, i = 0; byte < 257; byte++) {
        while (i < n && (uint8_t)vocab_spelling(vocab, spelled->ids[i]).s[0] < byte)
            i++;
        spelled->first[byte] = i;
    }
}

/* The first of [low, high) whose byte at `at` is not below `byte`. */
static size_t spelled_bound(const struct spelled *spelled, size_t low, size_t high, size_t at,
                            unsigned byte)
{
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const struct str spelling = vocab_spelling(spelled->vocab, spelled->ids[middle]);
        if (at >= spelling.n || (uint8_t)spelling.s[at] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest spelled token at the start of text, or -1; one that plain text must not become has to
 * end within the first `reach` bytes. */
static int32_t spelled_find(const struct spelled *spelled, struct str text, size_t reach)
{
    size_t low = spelled->first[(uint8_t)text.s[0]], high = spelled->first[(uint8_t)text.s[0] + 1];
    int32_t found = -1;

    for (size_t n = 1; low < high; n++) {
        const int32_t shortest = spelled->ids[low];     /* a prefix of others sorts before them */
        if (vocab_spelling(spelled->vocab, shortest).n == n) {
            if (n <= reach || !vocab_is_special(spelled->vocab, shortest))
                found = shortest;
            low++;
        }
        if (n == text.n)
            break;
        const unsigned byte = (uint8_t)text.s[n];
        low = spelled_bound(spelled, low, high, n, byte);
        high = spelled_bound(spelled, low, high, n, byte + 1);
    }
    return found;
}

static bool encode_all(struct encoder *encoder, struct str text, const struct plain_range *plain,
                       size_t plain_n, struct err *err)
{
    struct spelled spelled;
    size_t begin = 0, range = 0;

    spelled_init(&spelled, encoder->vocab);
    for (size_t at = 0; at < text.n;) {
        const uint8_t byte = (uint8_t)text.s[at];
        if (spelled.first[byte] == spelled.first[byte + 1]) {
            at++;
            continue;
        }
        while (range < plain_n && plain[range].end <= at)
            range++;
        const size_t border = range < plain_n ? plain[range].begin : text.n;
        const int32_t id = spelled_find(&spelled, (struct str){text.s + at, text.n - at},
                                        border > at ? border - at : 0);
        if (id < 0) {
            at++;
            continue;
        }
        if (!encode_fragment(encoder, (struct str){text.s + begin, at - begin}, err))
            return false;
        emit(encoder, id);
        begin = at += vocab_spelling(encoder->vocab, id).n;
    }
    return encode_fragment(encoder, (struct str){text.s + begin, text.n - begin}, err);
}

bool tokenizer_encode(const struct vocab *vocab, struct arena *arena, struct str text,
                      const struct plain_range *plain, size_t plain_n, bool add_bos,
                      struct tokens *out, struct err *err)
{
    if (text.n > TOKENIZER_TEXT_BYTES_MAX)
        return err_set(err, ERR_TOO_LARGE, "the prompt is %zu bytes long; at most %d are allowed",
                       text.n, TOKENIZER_TEXT_BYTES_MAX);
    struct encoder encoder = {.vocab = vocab};
    encoder.splitter = splitter_new(vocab_pretokenizer(vocab), err);
    if (!encoder.splitter)
        return false;
    encoder.scratch = arena_new(1 << 14);
    if (add_bos && vocab_adds_bos(vocab))
        emit(&encoder, vocab_bos(vocab));
    const bool ok = encode_all(&encoder, text, plain, plain_n, err);
    if (ok) {
        *out = (struct tokens){arena_array(arena, encoder.n, sizeof *out->ids), encoder.n};
        if (encoder.n)
            memcpy(out->ids, encoder.ids, encoder.n * sizeof *out->ids);
    }
    arena_free(encoder.scratch);
    splitter_free(encoder.splitter);
    return ok;
}
