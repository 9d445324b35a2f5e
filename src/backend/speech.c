/* speech.c - see speech.h. */
#include "backend/speech.h"

static void say(struct speech *speech, struct saying saying)
{
    speech->options.say(speech->options.context, &saying);
}

/* A block without text was none: it is told when the first of it is decided. */
static void say_text(struct speech *speech)
{
    if (speech->decided.n == 0)
        return;
    if (!speech->told)
        say(speech, (struct saying){.kind = SAYING_OPEN, .type = BLOCK_TEXT});
    speech->told = true;
    say(speech, (struct saying){.kind = SAYING_MORE, .text = buf_view(&speech->decided)});
    buf_reset(&speech->decided);
}

static void open_block(struct speech *speech, const struct blocks_event *event)
{
    speech->type = event->type;
    speech->told = event->type != BLOCK_TEXT;
    if (speech->told)
        say(speech, (struct saying){.kind = SAYING_OPEN, .type = event->type, .text = event->name});
}

static void add(struct speech *speech, struct str text)
{
    if (speech->type != BLOCK_TEXT) {
        say(speech, (struct saying){.kind = SAYING_MORE, .text = text});
    } else if (speech->dropping) {
        speech->dropped = true;
    } else {
        stops_push(&speech->stopping, text, &speech->decided);
        say_text(speech);
    }
}

static void close_block(struct speech *speech, bool broken)
{
    if (speech->type == BLOCK_TEXT) {
        stops_finish(&speech->stopping, &speech->decided);
        say_text(speech);
    }
    if (speech->told)
        say(speech, (struct saying){.kind = SAYING_CLOSE, .broken = broken});
    speech->told = false;
    speech->called |= speech->options.one_call && speech->type == BLOCK_TOOL_USE && !broken;
}

static void on_block(void *context, const struct blocks_event *event)
{
    struct speech *speech = context;

    if (speech_over(speech))
        return;
    switch (event->kind) {
    case BLOCKS_OPEN:
        open_block(speech, event);
        break;
    case BLOCKS_DELTA:
        add(speech, event->text);
        break;
    case BLOCKS_CLOSE:
        close_block(speech, event->broken);
        break;
    }
}

void speech_init(struct speech *speech, const struct speech_options *options)
{
    *speech = (struct speech){.options = *options};
    blocks_init(&speech->blocks, &options->blocks);
    stops_init(&speech->stopping, options->stops, options->stops_n);
}

void speech_release(struct speech *speech)
{
    blocks_release(&speech->blocks);
    stops_release(&speech->stopping);
    buf_release(&speech->decided);
}

void speech_say(struct speech *speech, struct str text, bool control)
{
    if (!speech_over(speech))
        blocks_feed(&speech->blocks, text, control, on_block, speech);
}

void speech_end(struct speech *speech, bool calls)
{
    speech->dropping = calls;
    if (!speech_over(speech))
        blocks_end(&speech->blocks, on_block, speech);
}

bool speech_over(const struct speech *speech)
{
    return speech->called || speech->stopping.matched >= 0;
}

int speech_stop(const struct speech *speech)
{
    return speech->stopping.matched;
}

bool speech_thinks(const struct speech *speech)
{
    return blocks_place(&speech->blocks) == BLOCKS_IN_THOUGHT;
}
