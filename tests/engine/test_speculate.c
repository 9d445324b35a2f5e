/* The index against a search through everything, the odds against what happened, the plan against
 * all plans there are; and that nothing of it goes on without end in a text of one word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/random.h"
#include "engine/ngrams.h"
#include "engine/worth.h"
#include "engine/recall.h"
#include "engine/speculate.h"

enum { TEXT = 3000, RING = 1024 };

static uint32_t same_before(const int32_t *text, uint32_t next, const int32_t *tail, uint32_t tail_n,
                            uint32_t oldest)
{
    uint32_t n = 0;

    while (n < NGRAMS_MATCH_MAX && n < tail_n && next - n > oldest &&
           text[next - 1 - n] == tail[tail_n - 1 - n])
        n++;
    return n;
}

/* The definition, slowly. */
static struct ngrams_match search(const int32_t *text, uint32_t n, uint32_t kept,
                                  const int32_t *tail, uint32_t tail_n)
{
    const uint32_t oldest = n > kept ? n - kept : 0;
    struct ngrams_match best = {0};

    for (uint32_t next = oldest; next < n; next++) {
        const uint32_t length = same_before(text, next, tail, tail_n, oldest);
        if (length >= NGRAMS_SHORT && length >= best.length)
            best = (struct ngrams_match){next, length};
    }
    return best;
}

/* Text that comes back to itself: runs of new tokens and of old ones. */
static void write_text(int32_t *text, uint32_t n, uint32_t alphabet, struct rng *rng)
{
    uint32_t at = 0;

    while (at < n) {
        const uint32_t run = 1 + (uint32_t)(rng_next(rng) % 100);
        const uint32_t from = at ? (uint32_t)(rng_next(rng) % at) : 0;
        const bool again = at && rng_next(rng) % 2;
        for (uint32_t i = 0; i < run && at < n; i++, at++)
            text[at] = again ? text[from + i] : (int32_t)(rng_next(rng) % alphabet);
    }
}

static void test_longest_and_most_recent(void **state)
{
    static int32_t text[TEXT], other[TEXT];
    uint32_t found = 0, lost = 0;

    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct ngrams *ngrams = ngrams_new(RING);
        struct rng rng;
        rng_seed(&rng, seed);
        write_text(text, TEXT, 300, &rng);
        write_text(other, TEXT, 300, &rng);
        memcpy(other + 1000, text + 2500, 400 * sizeof *text);
        for (uint32_t n = 0; n < TEXT; n++) {
            const bool own = n % 2 || n < 2000;
            const int32_t *tail = own ? text : other;
            const uint32_t tail_n = own ? n : n - 1500;
            const struct ngrams_match right = search(text, n, RING, tail, tail_n);
            const struct ngrams_match match = ngrams_find(ngrams, tail, tail_n);
            assert_int_equal(match.length, right.length);
            assert_true(!match.length || match.next == right.next);
            found += match.length > 0;
            lost += n > RING && search(text, n, n, tail, tail_n).length > match.length;
            assert_int_equal(ngrams_end(ngrams), n);
            ngrams_push(ngrams, text[n]);
        }
        for (uint32_t i = 0; i < TEXT + 10; i++) {
            int32_t token = -1;
            assert_int_equal(ngrams_at(ngrams, i, &token), i < TEXT && i >= TEXT - RING);
            assert_true(token == -1 || token == text[i]);
        }
        ngrams_free(ngrams);
    }
    assert_true(found > TEXT);
    assert_true(lost > 0);                      /* the ring did forget */
}

/* With chains longer than anyone follows, what is found is still true, and the most recent place at
 * least as good as any other of the last few. */
static void test_few_words(void **state)
{
    static int32_t text[TEXT];

    for (uint32_t alphabet = 1; alphabet <= 4; alphabet++) {
        struct ngrams *ngrams = ngrams_new(TEXT);
        struct rng rng;
        rng_seed(&rng, alphabet);
        write_text(text, TEXT, alphabet, &rng);
        for (uint32_t n = 0; n < TEXT; n++) {
            const struct ngrams_match match = ngrams_find(ngrams, text, n);
            const uint32_t recent = n > 8 ? n - 8 : 0;
            assert_true(!match.length || match.next < n);
            assert_int_equal(match.length, match.length
                             ? same_before(text, match.next, text, n, 0) : 0);
            for (uint32_t next = recent; next < n; next++)
                assert_true(match.length >= same_before(text, next, text, n, 0) ||
                            same_before(text, next, text, n, 0) < NGRAMS_SHORT);
            ngrams_push(ngrams, text[n]);
        }
        ngrams_free(ngrams);
    }
}

static void test_drafts(void **state)
{
    const int32_t said[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3};
    struct speculator speculator;
    struct draft draft;

    assert_true(speculator_init(&speculator, 100, NULL));
    speculator_draft(&speculator, 4, &draft);
    assert_int_equal(draft.n, 0);
    speculator_follow(&speculator, said, 9, 9);
    speculator_draft(&speculator, 4, &draft);
    assert_int_equal(draft.n, 0);
    speculator_follow(&speculator, said, 12, 9);
    speculator_draft(&speculator, 4, &draft);
    assert_int_equal(draft.n, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(draft.tokens[i], 4 + i);
        assert_true(draft.reach[i] > 0 && draft.reach[i] < (i ? draft.reach[i - 1] : 1));
    }
    speculator_draft(&speculator, 100, &draft);         /* past its own end it goes round */
    assert_int_equal(draft.n, DRAFT_MAX);
    for (int i = 0; i < DRAFT_MAX; i++)
        assert_int_equal(draft.tokens[i], 1 + (3 + i) % 9);
    speculator_draft(&speculator, 0, &draft);
    assert_int_equal(draft.n, 0);
    speculator_release(&speculator);
}

/* Another sequence's text is used where it matches better, up to its end. */
static void test_earlier_sequences(void **state)
{
    struct ngrams *earlier = ngrams_new(100);
    const int32_t own[] = {30, 31, 7, 20, 21, 22, 30, 31};
    struct speculator speculator;
    struct draft draft;

    for (int32_t i = 20; i < 29; i++)
        ngrams_push(earlier, i);
    assert_true(speculator_init(&speculator, 100, earlier));
    speculator_follow(&speculator, own, 6, 6);
    speculator_draft(&speculator, 10, &draft);
    assert_int_equal(draft.n, 6);
    for (int i = 0; i < 6; i++)
        assert_int_equal(draft.tokens[i], 23 + i);
    speculator_follow(&speculator, own, 8, 6);
    speculator_draft(&speculator, 1, &draft);
    assert_int_equal(draft.tokens[0], 7);
    speculator_release(&speculator);
    ngrams_free(earlier);
}

/* One word replaced: the text goes on where it would have; four, and it is given up. */
static void test_replaced_words(void **state)
{
    int32_t text[64];
    struct speculator speculator;
    struct draft draft;

    for (int32_t i = 0; i < 40; i++)
        text[i] = i % 20;
    assert_true(speculator_init(&speculator, 100, NULL));
    speculator_follow(&speculator, text, 30, 20);
    text[30] = 100;
    speculator_follow(&speculator, text, 31, 20);
    speculator_draft(&speculator, 3, &draft);
    assert_int_equal(draft.n, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(draft.tokens[i], 11 + i);
    text[31] = 11;
    speculator_follow(&speculator, text, 32, 20);
    speculator_draft(&speculator, 1, &draft);
    assert_int_equal(draft.tokens[0], 12);
    for (uint32_t i = 0; i <= STRAY_MAX; i++) {
        text[32 + i] = 200 + (int32_t)i;
        speculator_follow(&speculator, text, 33 + i, 20);
        speculator_draft(&speculator, 1, &draft);
        assert_int_equal(draft.n, i < STRAY_MAX);
    }
    speculator_release(&speculator);
}

/* What a conversation said is its own, is bounded, and goes when others come. */
static void test_recall(void **state)
{
    struct recall *recall = calloc(1, sizeof *recall);
    const struct recall_key key = {.space = 1, .owner = 2, .flow = 3};
    const struct recall_key others[] = {{2, 2, 3}, {1, 3, 3}, {1, 2, 4}};
    static int32_t tokens[RECALL_TOKENS_MAX + 100];
    struct odds odds;

    for (int32_t i = 0; i < RECALL_TOKENS_MAX + 100; i++)
        tokens[i] = i;
    odds_init(&odds);
    odds.of[3].tried = 77;
    assert_null(recall_take(recall, (struct recall_key){.space = 1, .owner = 2}));
    struct flow *flow = recall_take(recall, key);
    recall_give_back(flow, tokens, RECALL_TOKENS_MAX + 100, &odds);
    flow = recall_take(recall, key);
    assert_true(flow->odds.of[3].tried == 77);
    const struct ngrams_match match = ngrams_find(flow->said, (int32_t[]){500, 501, 502}, 3);
    int32_t next;
    assert_int_equal(match.length, 3);
    assert_true(ngrams_at(flow->said, match.next, &next) && next == 503);
    assert_int_equal(ngrams_find(flow->said, tokens, 99).length, 0);    /* forgotten */
    for (int i = 0; i < 3; i++) {
        struct flow *other = recall_take(recall, others[i]);
        assert_true(other != flow);
        assert_int_equal(ngrams_find(other->said, (int32_t[]){500, 501, 502}, 3).length, 0);
        recall_give_back(other, NULL, 0, &odds);
    }
    struct flow *held[RECALL_FLOWS_MAX];
    held[0] = flow;
    for (uint64_t i = 1; i < RECALL_FLOWS_MAX; i++)
        assert_non_null(held[i] = recall_take(recall, (struct recall_key){.flow = 100 + i}));
    assert_null(recall_take(recall, (struct recall_key){.flow = 99}));
    assert_ptr_equal(recall_take(recall, key), flow);   /* two sequences of one conversation */
    recall_give_back(flow, NULL, 0, &odds);
    for (int i = 0; i < RECALL_FLOWS_MAX; i++)
        recall_give_back(held[i], NULL, 0, &odds);
    for (uint64_t i = 0; i < RECALL_FLOWS_MAX; i++)
        recall_give_back(recall_take(recall, (struct recall_key){.flow = 500 + i}), NULL, 0, &odds);
    flow = recall_take(recall, key);
    assert_int_equal(ngrams_find(flow->said, (int32_t[]){500, 501, 502}, 3).length, 0);
    recall_give_back(flow, NULL, 0, &odds);
    recall_release(recall);
    free(recall);
}

/* Fed with text of which a share follows its match, the odds become that share; and they are learnt
 * whether anything is drafted or not. */
static void test_odds(void **state)
{
    static const double shares[] = {0.05, 0.5, 0.95};
    static int32_t text[4000];

    for (size_t s = 0; s < sizeof shares / sizeof *shares; s++) {
        struct speculator speculator;
        struct draft draft;
        struct rng rng;
        uint32_t n = 1000;
        double reach = 0, drafts = 0;
        rng_seed(&rng, s + 1);
        assert_true(speculator_init(&speculator, 4000, NULL));
        for (uint32_t i = 0; i < n; i++)
            text[i] = (int32_t)i;
        text[n++] = 0;
        while (n < 4000) {
            speculator_follow(&speculator, text, n, 1000);
            speculator_draft(&speculator, 1, &draft);
            if (draft.n && n > 2000) {
                reach += (double)draft.reach[0];
                drafts++;
            }
            const bool right = draft.n && rng_uniform(&rng) < shares[s];
            if (right) {
                text[n++] = draft.tokens[0];
                continue;
            }
            const int32_t from = (int32_t)(rng_next(&rng) % 900);
            for (int32_t i = 0; i < 2 && n < 4000; i++)
                text[n++] = from + i;
        }
        assert_true(reach / drafts > shares[s] - 0.1 && reach / drafts < shares[s] + 0.1);
        speculator_release(&speculator);
    }
}

/* ---- which are worth it ---- */

static void feed(struct worth *worth, const uint32_t *rows, size_t rows_n, int steps, double slope)
{
    for (int i = 0; i < steps; i++) {
        const uint32_t n = rows[(size_t)i % rows_n];
        worth_note(worth, n, n - 1, 0.01 * (1 + slope * (n - 1)));
    }
}

static void test_costs_are_learnt(void **state)
{
    static const uint32_t rows[] = {1, 4, 1, 8, 1, 16};
    static const double slopes[] = {0, 0.05, 0.3, 1};

    for (size_t s = 0; s < sizeof slopes / sizeof *slopes; s++) {
        struct worth worth;
        worth_init(&worth);
        feed(&worth, rows, 6, 600, slopes[s]);
        for (uint32_t n = 1; n <= 16; n++)
            if (n == 1 || n == 4 || n == 8 || n == 16) {
                const double right = 1 + slopes[s] * (n - 1);
                assert_true(worth_cost(&worth, n) > right * 0.85 && worth_cost(&worth, n) < right * 1.15);
            }
        for (uint32_t n = 1; n < 1000; n++)
            assert_true(worth_cost(&worth, n + 1) >= worth_cost(&worth, n));
    }
}

/* A context of another length makes all steps slower, not the drafts dearer. */
static void test_unit_follows(void **state)
{
    struct worth worth;

    worth_init(&worth);
    for (int i = 0; i < 400; i++) {
        const uint32_t n = i % 4 ? 1 : 8;
        const double unit = i < 200 ? 0.01 : 0.05;
        worth_note(&worth, n, n - 1, unit * (n == 1 ? 1 : 1.7));
        if (i == 199 || (i > 220 && i % 4 == 3))
            assert_true(worth_cost(&worth, 8) > 1.3 && worth_cost(&worth, 8) < 2.2);
    }
}

static struct draft draft_of(float chance, uint32_t n)
{
    struct draft draft = {.n = n};
    float reach = 1;

    for (uint32_t i = 0; i < n; i++)
        draft.reach[i] = reach *= chance;
    return draft;
}

static void test_plans(void **state)
{
    static const uint32_t rows[] = {1, 2, 4, 8, 12, 16};
    struct draft sure = draft_of(0.95f, DRAFT_MAX), even = draft_of(0.5f, DRAFT_MAX);
    struct draft unlikely = draft_of(0.1f, DRAFT_MAX);
    struct draft *one[] = {&sure}, *other[] = {&unlikely}, *all[] = {&unlikely, &sure, &even};
    struct worth worth;

    worth_init(&worth);
    feed(&worth, rows, 6, 600, 0.1);
    assert_true(worth_plan(&worth, 1, 1, one, 1, 64) >= 8);
    assert_int_equal(worth_plan(&worth, 1, 1, one, 1, 3), 3);
    assert_int_equal(worth_plan(&worth, 1, 1, one, 1, 0), 0);
    assert_int_equal(worth_plan(&worth, 1, 1, other, 1, 64), 0);
    assert_int_equal(worth_plan(NULL, 1, 1, other, 1, 64), DRAFT_MAX);
    const uint32_t n = worth_plan(&worth, 3, 3, all, 3, 64);
    assert_int_equal(n, sure.kept + even.kept + unlikely.kept);
    assert_true(sure.kept > even.kept && even.kept > 0 && unlikely.kept == 0);
}

/* Tokens a second of a sequence whose guesses are right with a chance, on a machine where a row more
 * costs so much of a step, against none; `fixed`: always so many guesses. */
static double gain(double chance, double slope, int fixed, uint64_t seed)
{
    struct draft draft = draft_of((float)chance, DRAFT_MAX), *drafts = &draft;
    double seconds = 0, tokens = 0;
    struct worth worth;
    struct rng rng;

    rng_seed(&rng, seed);
    worth_init(&worth);
    for (int step = 0; step < 1500; step++) {
        uint32_t n = 0, right = 0;
        if (fixed >= 0)
            n = (uint32_t)fixed;
        else if (step % 8)                      /* sometimes nothing matches */
            n = worth_plan(&worth, 1, 1, &drafts, 1, 64);
        while (right < n && rng_uniform(&rng) < chance)
            right++;
        const double noise = 0.9 + 0.2 * rng_uniform(&rng) + (rng_next(&rng) % 50 == 0);
        const double cost = 0.01 * (1 + slope * n);
        worth_note(&worth, 1 + n, n, cost * noise);
        seconds += cost;
        tokens += 1 + right;
    }
    return tokens / seconds * 0.01;
}

/* It never costs, and is not far from the best that is known only afterwards. */
static void test_plans_pay(void **state)
{
    static const double chances[] = {0.05, 0.3, 0.6, 0.8, 0.95}, slopes[] = {0.02, 0.1, 0.3, 0.6, 1};

    for (size_t c = 0; c < 5; c++)
        for (size_t s = 0; s < 5; s++) {
            const double planned = gain(chances[c], slopes[s], -1, 1 + c * 5 + s);
            double best = 0;
            for (int fixed = 0; fixed <= DRAFT_MAX; fixed++) {
                const double fixed_gain = gain(chances[c], slopes[s], fixed, 100);
                best = fixed_gain > best ? fixed_gain : best;
            }
            assert_true(planned > 0.94);
            assert_true(planned > 1 + (best - 1) * 0.7 - 0.06);
        }
}

/* The plan is the best of all counts, by the same reckoning. */
static void test_plan_is_the_best(void **state)
{
    struct rng rng;

    rng_seed(&rng, 5);
    for (int round = 0; round < 300; round++) {
        struct draft draft = {.n = (uint32_t)(rng_next(&rng) % (DRAFT_MAX + 1))}, *drafts = &draft;
        struct worth worth;
        double tokens = 1, best = 1;
        worth_init(&worth);
        for (int i = 1; i < WORTH_KNOTS; i++)
            worth.curve[i] = worth.curve[i - 1] + rng_uniform(&rng) * 0.5;
        float reach = 1;
        for (uint32_t i = 0; i < draft.n; i++)
            draft.reach[i] = reach *= (float)rng_uniform(&rng);
        const uint32_t n = worth_plan(&worth, 1, 1, &drafts, 1, 64);
        double planned = 1;
        for (uint32_t i = 0; i < draft.n; i++) {
            tokens += (double)draft.reach[i];
            const double rate = tokens / worth_cost(&worth, 2 + i);
            best = rate > best ? rate : best;
            if (i + 1 == n)
                planned = rate;
        }
        assert_int_equal(draft.kept, n);
        assert_true(n ? planned == best : best < 1.07);
    }
}

/* One bad moment puts a row count off, not for ever. */
static void test_tries_again(void **state)
{
    static const uint32_t rows[] = {1, 8};
    struct draft draft = draft_of(0.9f, 7), *drafts = &draft;
    struct worth worth;
    int steps = 0;

    worth_init(&worth);
    feed(&worth, rows, 2, 100, 0.1);
    for (int i = 0; i < 60; i++)
        worth_note(&worth, 8, 7, 0.2);
    for (int i = 0; i < 20; i++)
        worth_note(&worth, 1, 0, 0.01);
    while (worth_plan(&worth, 1, 1, &drafts, 1, 64) < 5) {
        worth_note(&worth, 1, 0, 0.01);
        assert_true(++steps < 3000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_longest_and_most_recent),
        cmocka_unit_test(test_few_words),
        cmocka_unit_test(test_drafts),
        cmocka_unit_test(test_earlier_sequences),
        cmocka_unit_test(test_replaced_words),
        cmocka_unit_test(test_recall),
        cmocka_unit_test(test_odds),
        cmocka_unit_test(test_costs_are_learnt),
        cmocka_unit_test(test_unit_follows),
        cmocka_unit_test(test_plans),
        cmocka_unit_test(test_plans_pay),
        cmocka_unit_test(test_plan_is_the_best),
        cmocka_unit_test(test_tries_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
