/* test_config.c - where a value comes from, which one wins, and what a wrong one is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "app/config.h"

#define WORDS_MAX 8

struct fixture {
    struct arena *arena;
    struct config config;
    struct err err;
    char directory[64];         /* with pensieve/pensieve.conf, where a test writes one */
    char home[128];             /* "XDG_CONFIG_HOME=..." */
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->arena = arena_new(4096);
    snprintf(f->directory, sizeof(f->directory), "%s/pensieve-test-XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(f->directory));
    snprintf(f->home, sizeof(f->home), "XDG_CONFIG_HOME=%s", f->directory);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    snprintf(command, sizeof(command), "rm -r '%s'", f->directory);
    int rc = system(command);
    arena_free(f->arena);
    free(f);
    return rc;
}

static const char *write_file(struct fixture *f, const char *name, const char *text, size_t n)
{
    const char *path = arena_printf(f->arena, "%s/%s", f->directory, name).s;
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
    return path;
}

/* One file, up to one variable, and flags as one string of words. NULL: none. */
static bool load_for(struct fixture *f, unsigned commands, const char *file, const char *variable,
                     const char *flags)
{
    char *argv[WORDS_MAX];
    char *envp[] = {f->home, (char *)(uintptr_t)variable, NULL};
    size_t argc = 0;
    char *text = arena_cstr(f->arena, str_of(flags ? flags : "")), *rest;
    for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        assert_true(argc < WORDS_MAX);
        argv[argc++] = word;
    }
    if (file) {
        write_file(f, "test.conf", file, strlen(file));
        assert_true(argc + 1 < WORDS_MAX);
        argv[argc++] = arena_cstr(f->arena, arena_printf(f->arena, "--config=%s/test.conf",
                                                         f->directory));
    }
    f->err = (struct err){0};
    return config_load(&f->config, f->arena, commands, argv, argc, envp, &f->err);
}

static bool load(struct fixture *f, const char *file, const char *variable, const char *flags)
{
    return load_for(f, FOR_SERVE, file, variable, flags);
}

#define assert_refused(f, file, variable, flags, told)                                             \
    do {                                                                                           \
        assert_false(load(f, file, variable, flags));                                              \
        assert_int_equal((f)->err.code, ERR_USAGE);                                                \
        assert_string_equal((f)->err.text, told);                                                  \
    } while (0)

static void defaults_are_inside_their_bounds(void **state)
{
    struct fixture *f = *state;
    assert_true(load(f, NULL, NULL, NULL));
    assert_int_equal(f->config.port, 7777);
    assert_string_equal(f->config.host, "127.0.0.1");
    assert_int_equal(f->config.kv_memory, 0);
    assert_int_equal(f->config.ping_ms, 5000);
    assert_true(f->config.require_key);
    assert_false(f->config.strict);
    assert_false(f->config.keys_configured);
    assert_int_equal(f->config.keys.n, 1);
    assert_true(str_is(f->config.keys.items[0], "pensieve-local-token"));
}

static void flags_beat_environment_beats_file_beats_default(void **state)
{
    struct fixture *f = *state;
    const char *file = "port = 1001\n";
    assert_true(load(f, file, NULL, NULL));
    assert_int_equal(f->config.port, 1001);
    assert_true(load(f, file, "PENSIEVE_PORT=1002", NULL));
    assert_int_equal(f->config.port, 1002);
    assert_true(load(f, file, "PENSIEVE_PORT=1002", "--port 1003"));
    assert_int_equal(f->config.port, 1003);
    assert_true(load(f, file, NULL, "--port=1004 --port=1005"));
    assert_int_equal(f->config.port, 1005);
    assert_true(load(f, file, "PENSIEVE_PORT=", NULL));
    assert_int_equal(f->config.port, 1001);
}

static void lists_are_replaced_whole_by_a_higher_source(void **state)
{
    struct fixture *f = *state;
    const char *file = "key = from-file-1\nkey = from-file-2\n";
    assert_true(load(f, file, NULL, NULL));
    assert_int_equal(f->config.keys.n, 2);
    assert_true(f->config.keys_configured);
    assert_true(load(f, file, "PENSIEVE_KEY=a, b,c", NULL));
    assert_int_equal(f->config.keys.n, 3);
    assert_true(str_is(f->config.keys.items[1], "b"));
    assert_true(load(f, file, "PENSIEVE_KEY=a,b,c", "--key x --key y"));
    assert_int_equal(f->config.keys.n, 2);
    assert_true(str_is(f->config.keys.items[0], "x"));
    assert_true(str_is(f->config.keys.items[1], "y"));
}

static void wrong_values_are_told_by_their_place(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, NULL, NULL, "--port 99999", "--port: 99999 is not between 0 and 65535");
    assert_refused(f, NULL, NULL, "--port=99999999999999999999999",
                   "--port: 99999999999999999999999 is not between 0 and 65535");
    assert_refused(f, NULL, NULL, "--port -1", "--port: \"-1\" is not a whole number");
    assert_refused(f, NULL, NULL, "--port 80x", "--port: \"80x\" is not a whole number");
    assert_refused(f, NULL, "PENSIEVE_PORT=abc", NULL,
                   "PENSIEVE_PORT: \"abc\" is not a whole number");
    assert_refused(f, "# ours\n\nport = 70000\n", NULL, NULL,
                   "test.conf line 3: port: 70000 is not between 0 and 65535");
    assert_refused(f, "port 80\n", NULL, NULL,
                   "test.conf line 1: a line is \"option = value\" or a # comment");
    assert_refused(f, NULL, NULL, "--body-bytes-max 12B",
                   "--body-bytes-max: 12B is not between 1KiB and 4GiB");
    assert_refused(f, NULL, NULL, "--kv-memory 18446744073709551615TiB",
                   "--kv-memory: 18446744073709551615TiB is not between 0 and 64TiB");
    assert_refused(f, NULL, NULL, "--ping 5", "--ping: \"5\" is not a time like 500ms, 5s or 2min");
    assert_refused(f, NULL, NULL, "--ping 2h", "--ping: 2h is not between 100ms and 1h");
    assert_refused(f, NULL, NULL, "--strict=maybe", "--strict: \"maybe\" is neither yes nor no");
    assert_refused(f, NULL, NULL, "--no-strict=yes", "--no-strict takes no value");
    assert_refused(f, NULL, NULL, "--log loud",
                   "--log: \"loud\" is none of debug|info|warn|error|off");
    assert_refused(f, NULL, NULL, "--host", "--host needs a value: --host ADDRESS");
}

static void unknown_names_get_a_hint(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, NULL, NULL, "--prot 80",
                   "--prot: there is no such option; did you mean --port?");
    assert_refused(f, "prot = 80\n", NULL, NULL,
                   "test.conf line 1: prot: there is no such option; did you mean port?");
    assert_refused(f, NULL, NULL, "--completely-else",
                   "--completely-else: there is no such option; --help lists them");
    assert_refused(f, NULL, NULL, "--no-port",
                   "--no-port: there is no such option; --help lists them");
    assert_refused(f, NULL, NULL, "-p 80",
                   "-p: options begin with two dashes; --help lists them");
    assert_refused(f, NULL, NULL, "--plain", "--plain is an option, but not of this command");
    assert_refused(f, "plain = yes\n", NULL, NULL, "test.conf line 1: plain has no meaning in a file");
    assert_true(load(f, NULL, "PENSIEVE_PROT=80", NULL));
    assert_int_equal(f->config.unknown_variables.n, 1);
    assert_true(str_is(f->config.unknown_variables.items[0], "PENSIEVE_PROT"));
}

static void units_are_understood(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {
        {"1048576", 1 << 20}, {"1048576B", 1 << 20}, {"2M", 2 << 20}, {"2MB", 2 << 20},
        {"2MiB", 2 << 20}, {"3G", 3ull << 30}, {"1TiB", 1ull << 40},
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_true(load(f, NULL, NULL,
                         arena_printf(f->arena, "--kv-memory=%s", sizes[i].text).s));
        assert_int_equal(f->config.kv_memory, sizes[i].bytes);
    }
    assert_true(load(f, NULL, NULL, "--drain 0 --ping 1500ms --head-timeout 2min"));
    assert_int_equal(f->config.drain_ms, 0);
    assert_int_equal(f->config.ping_ms, 1500);
    assert_int_equal(f->config.head_timeout_ms, 120000);
}

static void files_are_forgiving_about_space_alone(void **state)
{
    struct fixture *f = *state;
    assert_true(load(f, "  port=81\t\r\n\n # comment\n\tmodel =  /a path/with = and # in.gguf  \n"
                        "strict=on", NULL, NULL));
    assert_int_equal(f->config.port, 81);
    assert_string_equal(f->config.models.items[0].s, "/a path/with = and # in.gguf");
    assert_true(f->config.strict);
}

static void the_usual_file_is_read_if_it_is_there(void **state)
{
    struct fixture *f = *state;
    char command[128];
    snprintf(command, sizeof(command), "mkdir '%s/pensieve'", f->directory);
    assert_int_equal(system(command), 0);
    assert_true(load(f, NULL, NULL, NULL));
    write_file(f, "pensieve/pensieve.conf", "port = 82\n", 10);
    assert_true(load(f, NULL, NULL, NULL));
    assert_int_equal(f->config.port, 82);
    assert_true(load(f, "port = 83\n", NULL, NULL));    /* --config is read instead, not too */
    assert_int_equal(f->config.port, 83);
    assert_false(load(f, NULL, NULL, "--config=/nowhere/at/all.conf"));
    assert_string_equal(f->err.text, "--config: /nowhere/at/all.conf: No such file or directory");
    assert_false(load(f, NULL, NULL, "--config=/"));
    assert_int_equal(f->err.code, ERR_USAGE);
}

static void hostile_files_are_refused(void **state)
{
    struct fixture *f = *state;
    const char *path = write_file(f, "nul.conf", "model = a\0b\n", 12);
    const char *flag = arena_printf(f->arena, "--config=%s", path).s;
    assert_refused(f, NULL, NULL, flag, "nul.conf line 1: model: the value is not UTF-8 text");
    path = write_file(f, "bad.conf", "model = \xff\xfe\n", 11);
    flag = arena_printf(f->arena, "--config=%s", path).s;
    assert_refused(f, NULL, NULL, flag, "bad.conf line 1: model: the value is not UTF-8 text");

    char *large = malloc(CONFIG_FILE_BYTES_MAX + 1);
    memset(large, '\n', CONFIG_FILE_BYTES_MAX + 1);
    path = write_file(f, "large.conf", large, CONFIG_FILE_BYTES_MAX + 1);
    assert_false(load(f, NULL, NULL, arena_printf(f->arena, "--config=%s", path).s));
    memcpy(large, "model = ", 8);
    memset(large + 8, 'x', CONFIG_VALUE_BYTES_MAX + 1);
    path = write_file(f, "long.conf", large, 8 + CONFIG_VALUE_BYTES_MAX + 1);
    flag = arena_printf(f->arena, "--config=%s", path).s;
    assert_refused(f, NULL, NULL, flag,
                   "long.conf line 1: model: the value is longer than 4096 bytes");
    for (size_t i = 0; i < CONFIG_LIST_MAX + 1; i++) {
        memcpy(large + 6 * i, "key=k\n", 6);
    }
    path = write_file(f, "many.conf", large, 6 * (CONFIG_LIST_MAX + 1));
    flag = arena_printf(f->arena, "--config=%s", path).s;
    assert_refused(f, NULL, NULL, flag, "many.conf line 1025: key: more than 1024 values");
    free(large);
}

static void keys_come_from_a_file_and_are_never_repeated(void **state)
{
    struct fixture *f = *state;
    const char *path = write_file(f, "keys", "# two\nkey-one\n\n key-two \n", 25);
    assert_true(load(f, NULL, NULL,
                     arena_printf(f->arena, "--key-file=%s --key zero", path).s));
    assert_int_equal(f->config.keys.n, 3);
    assert_true(str_is(f->config.keys.items[2], "key-two"));
    assert_true(f->config.keys_configured);

    write_file(f, "keys", "# none\n", 7);
    assert_false(load(f, NULL, NULL, arena_printf(f->arena, "--key-file=%s", path).s));
    assert_non_null(strstr(f->err.text, "holds no key"));
    assert_false(load(f, NULL, NULL, "--key-file=/nowhere/keys"));
    assert_string_equal(f->err.text, "--key-file: /nowhere/keys: No such file or directory");

    assert_false(load(f, "key = my secret\n", NULL, NULL));
    assert_null(strstr(f->err.text, "secret"));
    assert_string_equal(f->err.text, "key: a key is visible ASCII without spaces");
    assert_refused(f, NULL, NULL, "--key=", "--key: the value is empty");
}

static const struct config_model *model(const struct fixture *f, size_t i)
{
    assert_true(i < f->config.model_sections.n);
    return f->config.model_sections.items[i];
}

static const struct config_upstream *upstream(const struct fixture *f, size_t i)
{
    assert_true(i < f->config.upstream_sections.n);
    return f->config.upstream_sections.items[i];
}

static void sections_hold_models_and_upstreams(void **state)
{
    struct fixture *f = *state;
    const char *file = "port = 1001\n"
                       "[model small]\n"
                       "path = /a/small.gguf\nfallback = qwen, other\nalias = claude-haiku-*\n"
                       "alias = tiny\ncontext = 4096\n"
                       "\n  [ model  qwen ]  # no\n";
    assert_refused(f, file, NULL, NULL,
                   "test.conf line 9: a section begins with [model NAME] or [upstream NAME]");
    file = "port = 1001\n"
           "[model small]\n"
           "path = /a/small.gguf\nfallback = qwen, other\nalias = claude-haiku-*\n"
           "alias = tiny\ncontext = 4096\n"
           "\t[model  qwen ]\n"
           "backend = upstream\nupstream = gpu-a\nupstream = http://127.0.0.1:9\nprobe = 1s\n"
           "[upstream gpu-a]\n"
           "url = https://gpu-a:8000\nkind = anthropic\nmodel = Qwen/Qwen3\nstall-timeout = 2s\n"
           "key-env = THE_KEY\n";
    assert_true(load(f, file, "THE_KEY=secret", NULL));
    assert_int_equal(f->config.port, 1001);
    assert_int_equal(f->config.models.n, 0);            /* the first section is the default model */
    assert_int_equal(f->config.model_sections.n, 2);
    assert_string_equal(model(f, 0)->section.name, "small");
    assert_string_equal(model(f, 0)->section.where, "test.conf line 2: [model small]");
    assert_string_equal(model(f, 0)->backend, "native");
    assert_string_equal(model(f, 0)->path, "/a/small.gguf");
    assert_int_equal(model(f, 0)->context, 4096);
    assert_int_equal(model(f, 0)->fallbacks.n, 2);
    assert_true(str_is(model(f, 0)->fallbacks.items[1], "other"));
    assert_int_equal(model(f, 0)->aliases.n, 2);
    assert_int_equal(model(f, 0)->probe_ms, 10000);
    assert_ptr_equal(config_model_find(&f->config, STR("qwen")), model(f, 1));
    assert_string_equal(model(f, 1)->backend, "upstream");
    assert_int_equal(model(f, 1)->upstreams.n, 2);
    assert_int_equal(model(f, 1)->probe_ms, 1000);
    assert_string_equal(upstream(f, 0)->url, "https://gpu-a:8000");
    assert_string_equal(upstream(f, 0)->kind, "anthropic");
    assert_string_equal(upstream(f, 0)->key, "secret");
    assert_int_equal(upstream(f, 0)->stall_ms, 2000);
    assert_int_equal(upstream(f, 0)->connect_ms, 5000);
    assert_true(load_for(f, FOR_CHECK, file, NULL, NULL));
    assert_int_equal(f->config.models.n, 0);            /* it says what `serve` would do */
    assert_true(load_for(f, FOR_BENCH, file, NULL, NULL));
    assert_int_equal(f->config.models.n, 1);
    assert_true(load(f, file, "THE_KEY=secret", "--model other"));
    assert_int_equal(f->config.models.n, 1);
}

#define NOT_A_URL "test.conf line 1: [upstream a]: url: not of the form http://HOST:PORT or https://HOST, " \
                  "without spaces and without a user's name or key"

static void sections_are_told_by_their_place(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *file, *told;
    } cases[] = {
        {"[modell a]\n", "test.conf line 1: a section begins with [model NAME] or [upstream NAME]"},
        {"[model a\n", "test.conf line 1: a section begins with [model NAME] or [upstream NAME]"},
        {"[]\n", "test.conf line 1: a section begins with [model NAME] or [upstream NAME]"},
        {"[", "test.conf line 1: a section begins with [model NAME] or [upstream NAME]"},
        {"[model]\n", "test.conf line 1: [model NAME]: a name is 1 to 128 letters, digits and signs, "
                      "without spaces, commas, quotes, stars and brackets"},
        {"[model a b]\n", "test.conf line 1: [model NAME]: a name is 1 to 128 letters, digits and "
                          "signs, without spaces, commas, quotes, stars and brackets"},
        {"[model a]\n[model a]\n", "test.conf line 2: there is a [model a] already"},
        {"[model a]\npaht = 1\n", "test.conf line 2: [model a]: paht: there is no such option; did "
                                  "you mean path?"},
        {"[model a]\nkv-memory = 1\n", "test.conf line 2: [model a]: kv-memory: there is no such "
                                       "option; docs/options.md lists them"},
        {"[model a]\nbackend = gpu\n",
         "test.conf line 2: [model a]: backend: \"gpu\" is none of native|mlx|upstream"},
        {"[model a]\nupstream = b,, c\n", "test.conf line 2: [model a]: upstream: the value is empty"},
        {"\n[model a]\nbackend = upstream\n",
         "test.conf line 2: [model a]: backend = upstream needs an upstream: the name of an "
         "[upstream NAME] section, or a URL"},
        {"[model a]\nbackend = upstream\nupstream = b\n",
         "test.conf line 1: [model a]: upstream: there is no section [upstream b]"},
        {"[model a]\nbackend = mlx\n",
         "test.conf line 1: [model a]: backend = mlx needs a path: an MLX folder"},
        {"[model a]\nupstream = http://b\n",
         "test.conf line 1: [model a]: upstream has no meaning with backend = native; did you mean "
         "backend = upstream, or a fallback?"},
        {"[model a]\nfallback = a\n",
         "test.conf line 1: [model a]: fallback: its fallbacks lead back to it"},
        {"[model x]\nfallback=a\n[model a]\nfallback = b\n[model b]\nfallback = c, a\n",
         "test.conf line 3: [model a]: fallback: its fallbacks lead back to it"},
        {"[upstream a]\n", NOT_A_URL},
        {"[upstream a]\nurl = ftp://b\n", NOT_A_URL},
        {"[upstream a]\nurl = http:///v1\n", NOT_A_URL},
        {"[upstream a]\nurl = https://me:secret@b\n", NOT_A_URL},
        {"[model a]\nbackend = upstream\nupstream = http://me@b\n",
         "test.conf line 1: [model a]: upstream: there is no section [upstream http://me@b]"},
        {"[upstream a]\nurl = http://b\nkey-env = NONE\n",
         "test.conf line 1: [upstream a]: key-env: the environment has no NONE"},
        {"[upstream a]\nurl = http://b\nkey-env = A\nkey-file = B\n",
         "test.conf line 1: [upstream a]: key-file and key-env: one key has one place"},
        {"[upstream a]\nurl = http://b\nkey-file = /nowhere/k\n",
         "test.conf line 1: [upstream a]: key-file: /nowhere/k: No such file or directory"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_refused(f, cases[i].file, NULL, NULL, cases[i].told);
    }
    char *many = malloc(1 << 16);
    size_t n = 0;
    for (int i = 0; i <= CONFIG_SECTIONS_MAX; i++) {
        n += (size_t)sprintf(many + n, "[model m%d]\n", i);
    }
    assert_refused(f, many, NULL, NULL, "test.conf line 65: more than 64 sections [model NAME]");
    n = (size_t)sprintf(many, "[model a]\nfallback = b");
    for (int i = 1; i <= CONFIG_MEMBERS_MAX; i++) {
        n += (size_t)sprintf(many + n, ",b%d", i);
    }
    assert_refused(f, many, NULL, NULL, "test.conf line 1: [model a]: more than 32 fallbacks");
    free(many);
}

static void keys_of_upstreams_are_never_repeated(void **state)
{
    struct fixture *f = *state;
    const char *path = write_file(f, "key", "  the-key \nmore\n", 16);
    const char *file =
        arena_printf(f->arena, "[upstream a]\nurl = http://b\nkey-file = %s\n", path).s;
    assert_true(load(f, file, NULL, NULL));
    assert_string_equal(upstream(f, 0)->key, "the-key");
    write_file(f, "key", "my secret\n", 10);
    assert_false(load(f, file, NULL, NULL));
    assert_string_equal(f->err.text, "test.conf line 1: [upstream a]: key-file: a key is visible "
                                     "ASCII without spaces");
    write_file(f, "key", "\n", 1);
    assert_false(load(f, file, NULL, NULL));
    assert_non_null(strstr(f->err.text, "begins with an empty line"));
}

static void words_and_help(void **state)
{
    struct fixture *f = *state;
    assert_true(load(f, NULL, NULL, "one --port 80 - -- --two"));
    assert_int_equal(f->config.args.n, 3);
    assert_true(str_is(f->config.args.items[0], "one"));
    assert_true(str_is(f->config.args.items[1], "-"));
    assert_true(str_is(f->config.args.items[2], "--two"));
    /* what launch starts has its own words */
    assert_true(load_for(f, FOR_SERVE | FOR_LAUNCH, NULL, NULL, "--port 80 one --port -- -h --x"));
    assert_int_equal(f->config.port, 80);
    assert_int_equal(f->config.args.n, 5);
    assert_true(str_is(f->config.args.items[1], "--port"));
    assert_true(str_is(f->config.args.items[2], "--"));
    assert_false(f->config.help);
    assert_true(load(f, "this file is broken", "PENSIEVE_PORT=wrong", "--help"));
    assert_true(f->config.help);
}

static void rows_are_whole(const struct option *rows, size_t n, size_t size)
{
    for (size_t i = 0; i < n; i++) {
        const struct option *option = &rows[i];
        assert_ptr_equal(option_find_in(rows, n, str_of(option->name)), option);
        assert_non_null(option->help);
        assert_true(option->type == OPTION_BOOL || option->metavar);
        assert_true(option->offset < size);
        assert_true(strlen(option->help) <= 90);
        for (size_t j = 0; j < i; j++) {
            assert_true(rows[j].offset != option->offset);
        }
    }
}

static void every_row_is_whole(void **state)
{
    struct fixture *f = *state;
    rows_are_whole(options, options_n, sizeof(struct config));
    for (size_t i = 0; i < options_n; i++) {
        assert_true(options[i].commands != 0);
    }
    for (size_t i = 0; i < section_kinds_n; i++) {
        rows_are_whole(section_kinds[i].rows, section_kinds[i].rows_n, section_kinds[i].size);
    }
    assert_true(str_is(option_variable(f->arena, option_find(STR("kv-memory"))),
                       "PENSIEVE_KV_MEMORY"));
    assert_int_equal(options_n > 0 && options[0].section != NULL, true);
}

static void distance_counts_letters(void **state)
{
    assert_int_equal(word_distance(STR("port"), STR("port")), 0);
    assert_int_equal(word_distance(STR("prot"), STR("port")), 1);
    assert_int_equal(word_distance(STR("por"), STR("port")), 1);
    assert_int_equal(word_distance(STR(""), STR("port")), 4);
    assert_int_equal(word_distance(STR("serve"), STR("verses")), 3);
    assert_true(word_distance(STR("a-word-longer-than-any-option-has-letters"), STR("port")) > 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(defaults_are_inside_their_bounds),
        TEST(flags_beat_environment_beats_file_beats_default),
        TEST(lists_are_replaced_whole_by_a_higher_source),
        TEST(wrong_values_are_told_by_their_place),
        TEST(unknown_names_get_a_hint),
        TEST(units_are_understood),
        TEST(files_are_forgiving_about_space_alone),
        TEST(the_usual_file_is_read_if_it_is_there),
        TEST(hostile_files_are_refused),
        TEST(keys_come_from_a_file_and_are_never_repeated),
        TEST(sections_hold_models_and_upstreams),
        TEST(sections_are_told_by_their_place),
        TEST(keys_of_upstreams_are_never_repeated),
        TEST(words_and_help),
        TEST(every_row_is_whole),
        TEST(distance_counts_letters),
    };
    return cmocka_run_group_tests_name("app/config", tests, NULL, NULL);
}
