/* tiny.h - for tests of prompts: ChatML as a template, and a tiny model (tests/golden/make) for its
 * tokens. */
#ifndef PENSIEVE_TESTS_TINY_H
#define PENSIEVE_TESTS_TINY_H

#include "pensieve/engine.h"
#include "support/golden.h"

#define CHATML                                                                                     \
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] " \
    "+ '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}"                            \
    "{{ '<|im_start|>assistant\n' }}{% endif %}"

static struct engine *engine;

static int setup(void **state)
{
    struct arena *arena = arena_new(256);
    struct err err = {0};

    engine = engine_open(&(struct engine_options){
        .model_path = golden_path(arena, TINY "llama_tied/f16.gguf"), .threads = 1}, &err);
    if (!engine)
        print_error("%s\n", err.text);
    arena_free(arena);
    (void)state;
    return engine ? 0 : -1;
}

static int teardown(void **state)
{
    engine_close(engine);
    (void)state;
    return 0;
}

#endif
