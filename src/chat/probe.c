/* probe.c - see probe.h. Small conversations are rendered, and what stands in the text where is
 * what the template does.
 *
 * The hard thing is to tell "shown" from "shown right": arguments that come out as Python prints a
 * dict are shown, but wrong. */
#include "chat/probe.h"

#include "chat/context.h"

#define USER "{\"role\":\"user\",\"content\":\"probe-user\"}"
#define AGAIN "{\"role\":\"user\",\"content\":\"probe-again\"}"
#define SYSTEM "{\"role\":\"system\",\"content\":\"probe-system\"}"
#define SYSTEM_TOOLS "{\"role\":\"system\",\"content\":\"probe-system\",\"tools\":\"[probe_tool]\"}"
#define ASSISTANT "{\"role\":\"assistant\",\"content\":\"probe-assistant\"}"
#define TOOLS                                                                                      \
    "[{\"type\":\"function\",\"function\":{\"name\":\"probe_tool\",\"description\":"              \
    "\"probe-tool\",\"parameters\":{\"type\":\"object\",\"properties\":{\"probe_key\":"            \
    "{\"type\":\"string\",\"description\":\"probe-property\"}}}}}]"

#define THOUGHTS(on) "\"enable_thinking\":" on ","

/* One spelling of calls and results that a template may insist on. */
struct spelling {
    const char *id, *other_id;
    const char *arguments;
};

struct probe {
    const struct chat_template *tmpl;
    struct arena *arena;
    struct str source;                  /* of the template: what it never names it can't use */
    const char *tools;                  /* JSON */
    const char *switches;               /* members of the JSON object */
    struct spelling spelling;
};

static const char *find(struct str text, const char *from, const char *what)
{
    return from ? memmem(from, (size_t)(text.s + text.n - from), what, strlen(what)) : NULL;
}

static bool render(const struct probe *probe, struct str messages, struct str *out, struct err *err)
{
    const struct str context = arena_printf(
        probe->arena, "{\"tools\":%s,\"documents\":null,\"add_generation_prompt\":true,%s"
        "\"messages\":[%.*s]}", probe->tools, probe->switches, STR_ARG(messages));

    return template_render(probe->tmpl, probe->arena, context, out, err);
}

/* Whether the texts of `order` stand in it one after the other. */
static bool has(struct str out, const char *const *order)
{
    const char *at = out.s;

    for (; *order; order++)
        at = find(out, at, *order);
    return at;
}

#define HAS(out, ...) has(out, (const char *const[]){__VA_ARGS__, NULL})

/* Whether it is rendered, and so. */
static bool shows(const struct probe *probe, struct str messages, const char *const *order)
{
    struct str out;

    return render(probe, messages, &out, NULL) && has(out, order);
}

#define SHOWS(probe, messages, ...)                                                                \
    shows(probe, messages, (const char *const[]){__VA_ARGS__, NULL})

/* ---- messages of a spelling ---- */

static struct str call(const struct probe *probe, bool other)
{
    const struct spelling *spelling = &probe->spelling;

    return arena_printf(probe->arena, "{\"type\":\"function\",\"id\":\"%s\",\"function\":{\"name\":"
                        "\"%s\",\"arguments\":%s}}", other ? spelling->other_id : spelling->id,
                        other ? "probe_other" : "probe_called", spelling->arguments);
}

static struct str result(const struct probe *probe, bool other)
{
    const struct spelling *spelling = &probe->spelling;

    return arena_printf(probe->arena, "{\"role\":\"tool\",\"content\":\"probe-%sresult\","
                        "\"name\":\"%s\",\"tool_call_id\":\"%s\"}", other ? "other-" : "",
                        other ? "probe_other" : "probe_called",
                        other ? spelling->other_id : spelling->id);
}

/* An assistant's message with one call. */
static struct str calling(const struct probe *probe, const char *content)
{
    return arena_printf(probe->arena, "{\"role\":\"assistant\",\"content\":\"%s\","
                        "\"tool_calls\":[%.*s]}", content, STR_ARG(call(probe, false)));
}

/* ---- what is tried ---- */

static bool try_roles(const struct probe *probe, struct template_traits *traits, struct err *err)
{
    struct str out;

    if (!render(probe, STR(USER), &out, err)) {
        err_prefix(err, "trying a user's message");
        if (err)
            err->code = ERR_FORMAT;
        return false;
    }
    traits->system = SHOWS(probe, STR(SYSTEM "," USER), "probe-system", "probe-user");
    traits->system_inside =
        SHOWS(probe, STR(USER "," SYSTEM), "probe-user", "probe-system") &&
        SHOWS(probe, STR(USER "," SYSTEM "," ASSISTANT "," AGAIN), "probe-user", "probe-system",
              "probe-assistant", "probe-again");
    return true;
}

/* Whether a call with this spelling, its result and what follows are shown as they should be. */
static bool try_spelling(const struct probe *probe)
{
    const struct str all = arena_printf(
        probe->arena, USER ",%.*s,%.*s," ASSISTANT "," AGAIN, STR_ARG(calling(probe, "")),
        STR_ARG(result(probe, false)));
    struct str out;

    return render(probe, all, &out, NULL) &&
           HAS(out, "probe-user", "probe_called", "probe_key", "probe-value", "probe-again") &&
           !find(out, out.s, "'probe_key'") && !find(out, out.s, "\\\"probe_key");
}

/* The first of the spellings with which calls are shown; if there is none, the first at all. */
static void choose_spelling(struct probe *probe, struct template_traits *traits)
{
    static const struct spelling spellings[] = {
        {"probe_id_of_a_call", "probe_id_of_another", "{\"probe_key\":\"probe-value\"}"},
        {"probeid01", "probeid02", "{\"probe_key\":\"probe-value\"}"},
        {"probe_id_of_a_call", "probe_id_of_another",
         "\"{\\\"probe_key\\\": \\\"probe-value\\\"}\""},
        {"probeid01", "probeid02", "\"{\\\"probe_key\\\": \\\"probe-value\\\"}\""},
    };

    for (size_t i = 0; i < sizeof spellings / sizeof *spellings && !traits->calls; i++) {
        probe->spelling = spellings[i];
        traits->calls = try_spelling(probe);
        traits->calls_as_text = traits->calls && i >= 2;
        traits->short_ids = traits->calls && i % 2 == 1;
    }
    if (!traits->calls)
        probe->spelling = spellings[0];
}

static void try_calls(const struct probe *probe, struct template_traits *traits)
{
    const struct str both = arena_printf(
        probe->arena, USER ",{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[%.*s,%.*s]},"
        "%.*s,%.*s", STR_ARG(call(probe, false)), STR_ARG(call(probe, true)),
        STR_ARG(result(probe, false)), STR_ARG(result(probe, true)));
    const struct str beside = arena_printf(probe->arena, USER ",%.*s,%.*s",
                                           STR_ARG(calling(probe, "probe-beside")),
                                           STR_ARG(result(probe, false)));
    const struct str thought = arena_printf(
        probe->arena, USER ",{\"role\":\"assistant\",\"content\":\"probe-beside\","
        "\"reasoning_content\":\"probe-thought\",\"thinking\":\"probe-thought\","
        "\"tool_calls\":[%.*s]},%.*s", STR_ARG(call(probe, false)),
        STR_ARG(result(probe, false)));

    traits->calls_parallel = SHOWS(probe, both, "probe_called", "probe-value", "probe_other",
                                   "probe-value", "probe-result", "probe-other-result");
    traits->calls_beside = SHOWS(probe, beside, "probe-beside", "probe_called", "probe-result");
    traits->calls_thought = SHOWS(probe, thought, "probe_called", "probe-result");
}

static void try_results(const struct probe *probe, struct template_traits *traits)
{
    const struct str head = arena_printf(probe->arena, USER ",%.*s,%.*s,%.*s",
                                         STR_ARG(calling(probe, "probe-beside")),
                                         STR_ARG(result(probe, false)),
                                         STR_ARG(result(probe, true)));
    const struct str more = arena_printf(probe->arena, "%.*s," ASSISTANT "," AGAIN, STR_ARG(head));
    const struct str user = arena_printf(probe->arena, "%.*s," AGAIN, STR_ARG(head));

    traits->results = SHOWS(probe, more, "probe-user", "probe-result", "probe-other-result",
                            "probe-assistant", "probe-again");
    traits->user_behind = SHOWS(probe, user, "probe-user", "probe-result", "probe-other-result",
                                "probe-again");
}

/* All behind the answer must be as it is when the template writes the calls itself. */
static bool told_well(const struct probe *probe, const char *tool_calls, struct str written)
{
    const struct str told = arena_printf(
        probe->arena, USER ",{\"role\":\"assistant\",\"content\":\"probe-beside\"%s},%.*s,"
        ASSISTANT "," AGAIN, tool_calls, STR_ARG(result(probe, false)));
    struct str out;
    const char *at = render(probe, told, &out, NULL) ? find(out, out.s, "probe-beside") : NULL;

    if (!at)
        return false;
    at += strlen("probe-beside");
    const struct str behind = {at, (size_t)(out.s + out.n - at)};
    return find(behind, behind.s, "probe-result") && str_ends(written, behind);
}

static void try_told(const struct probe *probe, struct template_traits *traits)
{
    static const enum told_calls ways[] = {TOLD_PLAIN, TOLD_NULL, TOLD_EMPTY};
    const struct str messages = arena_printf(probe->arena, USER ",%.*s,%.*s," ASSISTANT "," AGAIN,
                                             STR_ARG(calling(probe, "probe-beside")),
                                             STR_ARG(result(probe, false)));
    struct str written;

    if (!render(probe, messages, &written, NULL))
        return;
    for (size_t i = 0; i < sizeof ways / sizeof *ways && traits->told == TOLD_NEVER; i++)
        if (told_well(probe, context_told_calls(ways[i]), written))
            traits->told = ways[i];
}

static void try_definitions(struct probe *probe, struct template_traits *traits)
{
    if (!find(probe->source, probe->source.s, "tools"))
        return;
    probe->tools = TOOLS;
    traits->tools = SHOWS(probe, STR(USER), "probe_tool") &&
                    SHOWS(probe, STR(USER "," ASSISTANT "," AGAIN), "probe-tool");
    if (traits->tools)
        return;
    probe->tools = "null";
    traits->tools_in_system = SHOWS(probe, STR(SYSTEM_TOOLS "," USER), "probe-system",
                                    "[probe_tool]", "probe-user");
    traits->tools = traits->tools_in_system;
}

static void try_tools(struct probe *probe, struct template_traits *traits)
{
    try_definitions(probe, traits);
    if (!traits->tools) {
        traits->told = TOLD_PLAIN;      /* calls are text like any other */
        return;
    }
    choose_spelling(probe, traits);
    if (traits->calls)
        try_calls(probe, traits);
    try_results(probe, traits);
    try_told(probe, traits);
}

/* ---- how an answer begins ---- */

/* What stands behind `mark`: up to probe-assistant, or all. n == 0: not rendered so. */
static struct str behind(const struct probe *probe, struct str messages, const char *mark,
                         bool told)
{
    struct str out;

    if (!render(probe, messages, &out, NULL))
        return (struct str){0};
    const char *at = find(out, out.s, mark);
    const char *begin = at ? at + strlen(mark) : NULL;
    const char *end = told ? find(out, begin, "probe-assistant") : out.s + out.n;
    return begin && end ? (struct str){begin, (size_t)(end - begin)} : (struct str){0};
}

/* Compares how an answer begins when it is told again and when it is asked for. */
static struct replay_lead try_lead(const struct probe *probe, struct arena *arena,
                                   struct str messages, const char *mark)
{
    const struct str more = arena_printf(probe->arena, "%.*s," ASSISTANT "," AGAIN,
                                         STR_ARG(messages));
    const struct str told = behind(probe, more, mark, true);
    const struct str asked = behind(probe, messages, mark, false);
    size_t same = 0;

    while (same < told.n && same < asked.n && told.s[same] == asked.s[same])
        same++;
    while (same && same < told.n && ((unsigned char)told.s[same] & 0xc0) == 0x80)
        same--;                         /* not inside a character */
    const struct str drop = {told.s + same, told.n - same}, add = {asked.s + same, asked.n - same};
    if (!same || drop.n > REPLAY_LEAD_BYTES_MAX || add.n > REPLAY_LEAD_BYTES_MAX)
        return (struct replay_lead){0};
    return (struct replay_lead){arena_str(arena, drop), arena_str(arena, add)};
}

/* The values that reasoning_effort may have; what is above them is the highest. */
static void try_efforts(struct probe *probe, struct template_traits *traits)
{
    static const char *const names[] = {
        [EFFORT_LOW] = "low", [EFFORT_MEDIUM] = "medium", [EFFORT_HIGH] = "high"};
    struct str out;

    if (!find(probe->source, probe->source.s, "reasoning_effort"))
        return;
    for (int i = EFFORT_LOW; i <= EFFORT_HIGH; i++) {
        probe->switches = arena_printf(probe->arena, THOUGHTS("false")
                                       "\"reasoning_effort\":\"%s\",", names[i]).s;
        traits->efforts[i] = render(probe, STR(USER), &out, NULL) ? names[i] : NULL;
    }
    probe->switches = THOUGHTS("false");
    traits->efforts[EFFORT_XHIGH] = traits->efforts[EFFORT_MAX] = traits->efforts[EFFORT_HIGH];
}

/* A variable, and what turns thoughts on by it. */
static const struct way {
    const char *name, *on;
} ways[] = {
    {"enable_thinking", THOUGHTS("true")},
    {"thinking", THOUGHTS("false") "\"thinking\":true,"},
};

/* The one that changes how an answer begins. */
static const struct way *find_way(struct probe *probe)
{
    if (!find(probe->source, probe->source.s, "thinking"))
        return NULL;
    const struct str off = behind(probe, STR(USER), "probe-user", false);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        probe->switches = ways[i].on;
        const struct str on = behind(probe, STR(USER), "probe-user", false);
        probe->switches = THOUGHTS("false");
        if (on.n && !str_equal(on, off))
            return &ways[i];
    }
    return NULL;
}

/* Behind a user's message, and behind a result. way: thoughts are on; NULL: they are off. */
static void try_leads(struct probe *probe, struct arena *arena, const struct way *way,
                      struct probed *out)
{
    const struct str called = arena_printf(probe->arena, USER ",%.*s,%.*s",
                                           STR_ARG(calling(probe, "probe-beside")),
                                           STR_ARG(result(probe, false)));
    const unsigned user = probe_lead((struct template_place){.thinking = way});
    const unsigned tool = probe_lead((struct template_place){true, way});

    probe->switches = way ? way->on : THOUGHTS("false");
    out->leads[user] = try_lead(probe, arena, STR(USER), "probe-user");
    out->leads[tool] = out->traits.results ? try_lead(probe, arena, called, "probe-result")
                                           : out->leads[user];
}

bool probe_template(const struct chat_template *tmpl, struct str source, struct arena *arena,
                    struct probed *out, struct err *err)
{
    struct probe probe = {
        .tmpl = tmpl, .arena = arena_new(4096), .source = source, .tools = "null",
        .switches = THOUGHTS("false"),
    };

    *out = (struct probed){0};
    const bool ok = try_roles(&probe, &out->traits, err);
    if (ok) {
        try_tools(&probe, &out->traits);
        try_efforts(&probe, &out->traits);
        const struct way *way = find_way(&probe);
        out->traits.thinking = way ? way->name : NULL;
        try_leads(&probe, arena, NULL, out);
        if (way)
            try_leads(&probe, arena, way, out);
    }
    arena_free(probe.arena);
    return ok;
}
