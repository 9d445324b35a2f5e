/* speculate.c - follows one match through the text while it holds, and looks for another when not. If
 * there is none, perhaps one word was replaced: then the old one goes on at the next place.
 *
 * The hard thing is to know what a guess is worth before it is paid for. Each token that is sampled
 * is compared with what the match said, drafted or not, and counted under the match's length; so
 * the chance of a draft's tokens is the product of the odds of the lengths that the match grows
 * through. Old counts fade: a text changes from prose to code and back. */
#include "engine/speculate.h"

#include <string.h>

/* The shortest match of each kind, and what is believed of it at first: as if BELIEF tokens had been
 * seen to follow so. */
static const struct {
    uint32_t length;
    float chance;
} kinds[ODDS_KINDS] = {
    {0, 0.1f}, {2, 0.15f}, {3, 0.25f}, {4, 0.4f}, {5, 0.5f},
    {7, 0.6f}, {10, 0.7f}, {16, 0.8f}, {32, 0.9f},
};
static const float BELIEF = 4, FADING = 1 - 1.0f / 64;

void odds_init(struct odds *odds)
{
    for (int i = 0; i < ODDS_KINDS; i++) {
        odds->of[i].tried = BELIEF;
        odds->of[i].right = BELIEF * kinds[i].chance;
    }
}

static int kind_of(uint32_t length)
{
    int kind = ODDS_KINDS - 1;

    while (kinds[kind].length > length)
        kind--;
    return kind;
}

static void odds_count(struct odds *odds, uint32_t length, bool right)
{
    const int kind = kind_of(length);

    odds->of[kind].tried = odds->of[kind].tried * FADING + 1;
    odds->of[kind].right = odds->of[kind].right * FADING + (right ? 1 : 0);
}

static float odds_of(const struct odds *odds, uint32_t length)
{
    const int kind = kind_of(length);

    return odds->of[kind].right / odds->of[kind].tried;
}

bool speculator_init(struct speculator *speculator, uint32_t tokens_max,
                     const struct ngrams *earlier)
{
    *speculator = (struct speculator){.own = ngrams_new(tokens_max), .earlier = earlier};
    odds_init(&speculator->odds);
    return speculator->own != NULL;
}

void speculator_release(struct speculator *speculator)
{
    ngrams_free(speculator->own);
    *speculator = (struct speculator){0};
}

static bool expected(const struct speculator *speculator, int32_t *token)
{
    return speculator->source && ngrams_at(speculator->source, speculator->match.next, token);
}

/* The longest; of two as long, the sequence's own. */
static void look(struct speculator *speculator, const int32_t *ids, uint32_t n)
{
    const struct ngrams *earlier = speculator->earlier;

    speculator->source = speculator->own;
    speculator->match = ngrams_find(speculator->own, ids, n);
    if (earlier) {
        const struct ngrams_match match = ngrams_find(earlier, ids, n);
        if (match.length > speculator->match.length) {
            speculator->source = earlier;
            speculator->match = match;
        }
    }
    if (!speculator->match.length)
        speculator->source = NULL;
}

/* A match that holds is one longer, and still the longest: any longer one was longer before. */
static void follow_one(struct speculator *speculator, const int32_t *ids, uint32_t n)
{
    const int32_t said = ids[n - 1];
    int32_t guess;
    const bool guessed = expected(speculator, &guess);

    if (guessed)
        odds_count(&speculator->odds, speculator->match.length, guess == said);
    ngrams_push(speculator->own, said);
    if (guessed && guess == said) {
        speculator->match.next++;
        speculator->match.length++;
        speculator->strayed = 0;
        return;
    }
    const struct ngrams *before = speculator->source;
    const uint32_t next = speculator->match.next;
    look(speculator, ids, n);
    if (speculator->source) {
        speculator->strayed = 0;
    } else if (guessed && speculator->strayed++ < STRAY_MAX) {
        speculator->source = before;
        speculator->match = (struct ngrams_match){.next = next + 1};
    }
}

void speculator_follow(struct speculator *speculator, const int32_t *ids, uint32_t n,
                       uint32_t sampled)
{
    uint32_t i = speculator->known;

    if (i < sampled && i < n) {
        for (; i < sampled && i < n; i++)
            ngrams_push(speculator->own, ids[i]);
        look(speculator, ids, i);
    }
    for (; i < n; i++)
        follow_one(speculator, ids, i + 1);
    speculator->known = n;
}

/* Past the end of what is known, a match in the sequence's own text goes on in the draft itself: so
 * what repeats, goes on repeating. */
void speculator_draft(const struct speculator *speculator, uint32_t max, struct draft *draft)
{
    const uint32_t most = max < DRAFT_MAX ? max : DRAFT_MAX;
    float reach = 1;
    int32_t token;

    draft->n = draft->kept = 0;
    if (!speculator->source)
        return;
    const uint32_t left = ngrams_end(speculator->source) - speculator->match.next;
    for (uint32_t i = 0; i < most; i++) {
        if (i >= left && speculator->source == speculator->own && left > 0)
            token = draft->tokens[i - left];
        else if (!ngrams_at(speculator->source, speculator->match.next + i, &token))
            return;
        reach *= odds_of(&speculator->odds, speculator->match.length + i);
        draft->tokens[i] = token;
        draft->reach[i] = reach;
        draft->n++;
    }
}
