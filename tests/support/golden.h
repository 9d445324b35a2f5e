/* golden.h - files of tests/golden, for the tests of the engine room. */
#ifndef PENSIEVE_TESTS_GOLDEN_H
#define PENSIEVE_TESTS_GOLDEN_H

#include "base/arena.h"
#include "base/json.h"

/* tests/NAME, NUL-terminated; ends the test program if PENSIEVE_TESTS does not say where that is. */
const char *golden_path(struct arena *arena, const char *name);
struct str golden_read(struct arena *arena, const char *name);
yyjson_val *golden_json(struct arena *arena, const char *name);
/* A JSON array of integers. */
int32_t *golden_ids(struct arena *arena, yyjson_val *array, uint32_t *n);

#endif
