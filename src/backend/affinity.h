/* affinity.h - where conversations were sent last: a table of bounded size from a conversation's
 * hash to a small number. What was not asked for longest makes room. */
#ifndef PENSIEVE_BACKEND_AFFINITY_H
#define PENSIEVE_BACKEND_AFFINITY_H

#include <stddef.h>
#include <stdint.h>

enum { AFFINITY_CONVERSATIONS = 16384, AFFINITY_WAYS = 4 };

struct affinity;

struct affinity *affinity_new(void);
void affinity_free(struct affinity *affinity);
/* The number, or -1: it isn't known. key: a hash, never 0. */
int affinity_find(struct affinity *affinity, uint64_t key);
void affinity_put(struct affinity *affinity, uint64_t key, int number);

#endif
