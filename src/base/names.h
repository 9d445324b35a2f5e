/* names.h - a set of texts that is filled once and then asked: sorted, for clients size it. */
#ifndef PENSIEVE_BASE_NAMES_H
#define PENSIEVE_BASE_NAMES_H

#include "base/arena.h"
#include "base/str.h"

struct names {
    struct str *names;          /* [n]; may hold one twice */
    size_t n;
};

/* Room for this many. The texts are borrowed. */
static inline struct names names_new(struct arena *arena, size_t room)
{
    return (struct names){arena_array(arena, room, sizeof(struct str)), 0};
}

static inline void names_add(struct names *names, struct str name)
{
    names->names[names->n++] = name;
}

void names_sort(struct names *names);           /* once all are in, before any other question */
bool names_have(const struct names *names, struct str name);
bool names_are_unique(const struct names *names);

#endif
