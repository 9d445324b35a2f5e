/* speech.c - see speech.h. */
#include "backend/speech.h"

static void say(struct speech *speech, const struct saying *saying)
{
    speech->options.say(speech->options.context, saying);
}

/* A block begins with its first characters: one that stays empty is none. */
static void tell(struct speech *speech)
{
    if (speech->decided.n == 0)
        return;
    if (!speech->open)
        say(speech, &(struct saying){.kind = SAYING_OPEN, .type = BLOCK_TEXT});
    speech->open = true;
    say(speech, &(struct saying){.kind = SAYING_MORE, .text = buf_view(&speech->decided)});
    buf_reset(&speech->decided);
}

void speech_init(struct speech *speech, const struct speech_options *options)
{
    *speech = (struct speech){.options = *options};
    stops_init(&speech->stopping, options->stops, options->stops_n);
}

void speech_release(struct speech *speech)
{
    stops_release(&speech->stopping);
    buf_release(&speech->decided);
}

void speech_say(struct speech *speech, struct str text, bool control)
{
    if (control || speech_over(speech))
        return;
    stops_push(&speech->stopping, text, &speech->decided);
    tell(speech);
}

void speech_end(struct speech *speech)
{
    if (speech_over(speech))
        return;
    stops_finish(&speech->stopping, &speech->decided);
    tell(speech);
}

bool speech_over(const struct speech *speech)
{
    return speech_stop(speech) >= 0;
}

int speech_stop(const struct speech *speech)
{
    return speech->stopping.matched;
}
