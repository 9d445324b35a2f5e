/* probe.h - what a chat template does with messages, which can only be found out by trying. */
#ifndef PENSIEVE_CHAT_PROBE_H
#define PENSIEVE_CHAT_PROBE_H

#include "chat/template.h"

enum { PROBE_LEADS = 4 };

/* Of a place. */
static inline unsigned probe_lead(struct template_place place)
{
    return 2U * place.behind_result + place.thinking;
}

struct probed {
    struct template_traits traits;
    struct replay_lead leads[PROBE_LEADS];      /* [probe_lead] */
};

/* The texts of leads lie in the arena. ERR_FORMAT: not even a user's message is rendered. */
bool probe_template(const struct chat_template *tmpl, struct str source, struct arena *arena,
                    struct probed *out, struct err *err);

#endif
