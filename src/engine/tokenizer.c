/* tokenizer.c - cuts text at spelled tokens, normalises the rest, cuts it into words, and turns
 * each word into tokens by the vocabulary's model.
 *
 * The hard thing is to stay near-linear in whatever a client sends: SentencePiece's models take a
 * whole prompt for one word. It is cut wherever no piece of the vocabulary could reach over the
 * cut, which changes nothing in what comes out. */
#include "engine/tokenizer.h"

#include <string.h>

#include "base/utf8.h"
#include "engine/bpe.h"
#include "engine/spelled.h"
#include "engine/unigram.h"

enum { SCRATCH_MIN = 256 };

struct encoder {
    const struct vocab *vocab;
    const struct vocab_rules *rules;
    const struct known_text *known;
    const size_t *cuts;                 /* [cuts_n], the known text's */
    uint32_t *cut_tokens;
    size_t cuts_n;
    struct arena *scratch;              /* of the whole call */
    struct arena *word_scratch;         /* of one word */
    struct splitter *splitter;
    struct bpe bpe;
    struct buf normalized[2], prepared[2];
    int32_t *ids;
    size_t n, capacity;
    bool after_unknown;                 /* the word's last token is the unknown one */
};

static void emit(struct encoder *encoder, int32_t id)
{
    if (encoder->n == encoder->capacity) {
        const size_t capacity = encoder->capacity ? encoder->capacity * 2 : SCRATCH_MIN;
        int32_t *ids = arena_raw(encoder->scratch, capacity * sizeof *ids);
        if (encoder->n)
            memcpy(ids, encoder->ids, encoder->n * sizeof *ids);
        encoder->ids = ids;
        encoder->capacity = capacity;
    }
    encoder->ids[encoder->n++] = id;
}

/* A token of a word: of unknown ones beside each other only the first, where they are fused. */
static void emit_piece(struct encoder *encoder, int32_t id)
{
    const bool unknown = id == encoder->rules->unknown;

    if (!unknown || !encoder->after_unknown || !encoder->rules->fuse_unknown)
        emit(encoder, id);
    encoder->after_unknown = unknown;
}

/* The length of the character at the start of text; a byte of none is one by itself. */
static size_t character_length(struct str text, uint32_t *c)
{
    const size_t n = utf8_decode(text, c);

    return n ? n : 1;
}

/* ---- bytes ---- */

static bool is_writable(const struct vocab *vocab, struct str bytes)
{
    for (size_t i = 0; i < bytes.n; i++)
        if (vocab_byte(vocab, (uint8_t)bytes.s[i]) < 0)
            return false;
    return true;
}

static void encode_bytes(struct encoder *encoder, struct str word)
{
    for (size_t i = 0, length; i < word.n; i += length) {
        uint32_t c;
        length = character_length((struct str){word.s + i, word.n - i}, &c);
        struct str written = {word.s + i, length};
        if (!is_writable(encoder->vocab, written))
            written = STR("\xef\xbf\xbd");
        for (size_t k = 0; k < written.n; k++)
            bpe_add(&encoder->bpe, vocab_byte(encoder->vocab, (uint8_t)written.s[k]));
    }
}

/* ---- characters ---- */

/* Without a piece of its own a character becomes its bytes, or the unknown token. */
static void encode_character(struct encoder *encoder, struct str character)
{
    const struct vocab *vocab = encoder->vocab;
    const int32_t id = vocab_find(vocab, character);

    if (id >= 0 && vocab_is_piece(vocab, id)) {
        bpe_add(&encoder->bpe, id);
        return;
    }
    if (!encoder->rules->byte_fallback || !is_writable(vocab, character)) {
        bpe_add(&encoder->bpe, encoder->rules->unknown);
        return;
    }
    for (size_t i = 0; i < character.n; i++)
        bpe_add(&encoder->bpe, vocab_byte(vocab, (uint8_t)character.s[i]));
}

static void encode_characters(struct encoder *encoder, struct str word)
{
    for (size_t i = 0, length; i < word.n; i += length) {
        uint32_t c;
        length = character_length((struct str){word.s + i, word.n - i}, &c);
        encode_character(encoder, (struct str){word.s + i, length});
    }
}

static void encode_unigram(struct encoder *encoder, struct str word)
{
    const struct vocab *vocab = encoder->vocab;
    struct unigram_piece *pieces;
    size_t begin = 0;

    arena_reset(encoder->word_scratch);
    const size_t n = unigram_cut(encoder->rules->unigram, encoder->word_scratch, word, &pieces);
    for (size_t i = 0; i < n; begin = pieces[i++].end) {
        const struct str text = {word.s + begin, pieces[i].end - begin};
        if (pieces[i].id >= 0)
            emit_piece(encoder, pieces[i].id);
        else if (!encoder->rules->byte_fallback || !is_writable(vocab, text))
            emit_piece(encoder, encoder->rules->unknown);
        else
            for (size_t k = 0; k < text.n; k++)
                emit_piece(encoder, vocab_byte(vocab, (uint8_t)text.s[k]));
    }
}

/* ---- words ---- */

static void encode_part(struct encoder *encoder, struct str word)
{
    if (encoder->rules->model == VOCAB_UNIGRAM) {
        encode_unigram(encoder, word);
        return;
    }
    encoder->bpe.n = 0;
    if (encoder->rules->model == VOCAB_BPE_BYTES)
        encode_bytes(encoder, word);
    else
        encode_characters(encoder, word);
    bpe_merge(&encoder->bpe);
    for (int32_t i = 0; i >= 0; i = encoder->bpe.symbols[i].next)
        emit_piece(encoder, encoder->bpe.symbols[i].id);
}

/* How much of a word may be encoded by itself. */
static size_t part_length(const struct encoder *encoder, struct str word)
{
    size_t at = 0;

    if (encoder->rules->model == VOCAB_BPE_BYTES) {
        at = word.n < TOKENIZER_WORD_BYTES_MAX ? word.n : TOKENIZER_WORD_BYTES_MAX;
        return at < word.n ? at - utf8_incomplete_tail((struct str){word.s, at}) : at;
    }
    for (uint32_t last = 0, c; at < word.n && at < TOKENIZER_WORD_BYTES_MAX; last = c) {
        const size_t n = character_length((struct str){word.s + at, word.n - at}, &c);
        if (at && !vocab_joins(encoder->vocab, last, c))
            break;
        at += n;
    }
    return at;
}

static int32_t whole_word(const struct encoder *encoder, struct str word)
{
    if (encoder->rules->model == VOCAB_BPE_BYTES)
        return word.n == 1 || encoder->rules->whole_words ? vocab_word(encoder->vocab, word) : -1;
    const int32_t id = encoder->rules->whole_words ? vocab_find(encoder->vocab, word) : -1;
    return vocab_is_piece(encoder->vocab, id) ? id : -1;
}

static void encode_word(struct encoder *encoder, struct str word)
{
    const int32_t id = whole_word(encoder, word);

    encoder->after_unknown = false;
    if (id >= 0) {
        emit(encoder, id);
        return;
    }
    while (word.n) {
        const size_t n = part_length(encoder, word);
        encode_part(encoder, (struct str){word.s, n});
        word = (struct str){word.s + n, word.n - n};
    }
}

/* ---- text ---- */

/* Normalised text without spelled tokens. */
static bool encode_words(struct encoder *encoder, struct str text, enum text_place place,
                         struct err *err)
{
    struct str word;

    if (!normalizer_run(&encoder->rules->prepare, text, place, encoder->prepared, &text, err))
        return false;
    splitter_start(encoder->splitter, text);
    for (;;) {
        if (!splitter_next(encoder->splitter, &word, err))
            return false;
        if (word.n == 0)
            return true;
        encode_word(encoder, word);
    }
}

/* Valid UTF-8 between spelled tokens: some more of those are looked for in the normalised text. */
static bool encode_valid(struct encoder *encoder, struct str text, enum text_place place,
                         struct err *err)
{
    struct spelled_match match;
    size_t begin = 0;

    if (!normalizer_run(&encoder->rules->normalize, text, place, encoder->normalized, &text, err))
        return false;
    struct spelled_walk walk = {.spelled = encoder->rules->spelled_normalized, .text = text};
    while (walk.spelled->n && spelled_next(&walk, &match)) {
        if (begin < match.begin && !encode_words(encoder, (struct str){text.s + begin,
                                                 match.begin - begin},
                                                 begin ? PLACE_LATER : place, err))
            return false;
        emit(encoder, match.id);
        begin = match.end;
    }
    return begin == text.n || encode_words(encoder, (struct str){text.s + begin, text.n - begin},
                                           begin ? PLACE_LATER : place, err);
}

static bool encode_segment(struct encoder *encoder, struct str text, enum text_place place,
                           struct err *err)
{
    while (text.n) {
        const size_t valid = utf8_valid_prefix(text);
        if (valid && !encode_valid(encoder, (struct str){text.s, valid}, place, err))
            return false;
        if (valid < text.n)
            encode_word(encoder, (struct str){text.s + valid, 1});
        const size_t done = valid < text.n ? valid + 1 : valid;
        text = (struct str){text.s + done, text.n - done};
        place = PLACE_LATER;
    }
    return true;
}

/* ---- cuts ---- */

/* A token ends at this place of the text; such places come in order. */
static void note_end(struct encoder *encoder, size_t at)
{
    for (size_t i = 0; i < encoder->cuts_n; i++)
        if (encoder->cuts[i] >= at)
            encoder->cut_tokens[i] = (uint32_t)encoder->n;
}

/* How many of the segment's tokens (from `first` on) its beginning alone would give as well. Normalising
 * leaves no other way to tell which bytes a token stands for. */
static bool measure(struct encoder *encoder, struct str beginning, enum text_place place,
                    size_t first, uint32_t *tokens, struct err *err)
{
    const size_t end = encoder->n;
    const bool ok = encode_segment(encoder, beginning, place, err);
    size_t same = 0;

    while (ok && first + same < end && end + same < encoder->n &&
           encoder->ids[first + same] == encoder->ids[end + same])
        same++;
    encoder->n = end;
    *tokens = (uint32_t)(first + same);
    return ok;
}

static bool encode_between(struct encoder *encoder, size_t begin, size_t end,
                           enum text_place place, struct err *err)
{
    const size_t first = encoder->n;
    const char *text = encoder->known->text.s;

    note_end(encoder, begin);
    if (!encode_segment(encoder, (struct str){text + begin, end - begin}, place, err))
        return false;
    for (size_t i = 0; i < encoder->cuts_n; i++) {
        const size_t cut = encoder->cuts[i];
        if (cut > begin && cut < end &&
            !measure(encoder, (struct str){text + begin, cut - begin}, place, first,
                     &encoder->cut_tokens[i], err))
            return false;
    }
    note_end(encoder, end);
    return true;
}

/* The text up to a given range, or to the end. */
static bool encode_run(struct encoder *encoder, size_t begin, size_t end, struct err *err)
{
    const struct known_text *known = encoder->known;
    enum text_place place = begin ? PLACE_WITHIN : PLACE_FIRST;
    struct spelled_walk walk = {.spelled = encoder->rules->spelled,
                                .text = {known->text.s, end}, .plain = known->plain,
                                .plain_n = known->plain_n, .at = begin, .done = begin};
    struct spelled_match match;

    while (spelled_next(&walk, &match)) {
        if (begin < match.begin && !encode_between(encoder, begin, match.begin, place, err))
            return false;
        emit(encoder, match.id);
        note_end(encoder, match.end);
        begin = match.end;
        place = PLACE_LATER;
    }
    return begin == end || encode_between(encoder, begin, end, place, err);
}

static bool encode_all(struct encoder *encoder, struct err *err)
{
    const struct known_text *known = encoder->known;
    size_t begin = 0;

    note_end(encoder, 0);
    for (size_t i = 0; i < known->given_n; i++) {
        const struct given_range *given = &known->given[i];
        if (!encode_run(encoder, begin, given->begin, err))
            return false;
        for (size_t k = 0; k < given->ids_n; k++)
            emit(encoder, given->ids[k]);
        begin = given->end;
        note_end(encoder, begin);
    }
    return encode_run(encoder, begin, known->text.n, err);
}

static void encoder_release(struct encoder *encoder)
{
    for (size_t i = 0; i < 2; i++) {
        buf_release(&encoder->normalized[i]);
        buf_release(&encoder->prepared[i]);
    }
    arena_free(encoder->scratch);
    arena_free(encoder->word_scratch);
    splitter_free(encoder->splitter);
}

bool tokenizer_encode_known(const struct vocab *vocab, struct arena *arena,
                            const struct known_text *known, struct tokens *out,
                            uint32_t *cut_tokens, struct err *err)
{
    if (known->text.n > TOKENIZER_TEXT_BYTES_MAX)
        return err_set(err, ERR_TOO_LARGE, "the prompt is %zu bytes long; at most %d are allowed",
                       known->text.n, TOKENIZER_TEXT_BYTES_MAX);
    struct encoder encoder = {.vocab = vocab, .rules = vocab_rules(vocab), .known = known,
                              .cuts = known->cuts, .cuts_n = known->cuts_n,
                              .cut_tokens = cut_tokens};
    encoder.splitter = splitter_new(encoder.rules->pretokenizer, err);
    if (!encoder.splitter)
        return false;
    encoder.scratch = arena_new(1 << 14);
    encoder.word_scratch = arena_new(1 << 14);
    encoder.bpe = (struct bpe){.vocab = vocab, .arena = encoder.scratch};
    if (known->add_bos && vocab_adds_bos(vocab))
        emit(&encoder, vocab_bos(vocab));
    const bool ok = encode_all(&encoder, err);
    if (ok) {
        *out = (struct tokens){arena_array(arena, encoder.n, sizeof *out->ids), encoder.n};
        if (encoder.n)
            memcpy(out->ids, encoder.ids, encoder.n * sizeof *out->ids);
    }
    encoder_release(&encoder);
    return ok;
}

bool tokenizer_encode(const struct vocab *vocab, struct arena *arena, struct str text,
                      const struct plain_range *plain, size_t plain_n, bool add_bos,
                      struct tokens *out, struct err *err)
{
    const struct known_text known = {.text = text, .plain = plain, .plain_n = plain_n,
                                     .add_bos = add_bos};

    return tokenizer_encode_known(vocab, arena, &known, out, NULL, err);
}
