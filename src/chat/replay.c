/* replay.c - a hash table with the order of use through it, behind one lock.
 *
 * The hard thing is that an entry is asked for by pool threads, made by the loop and written by the
 * log's thread: all take the lock for as long as a copy takes. */
#include "chat/replay.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json.h"
#include "base/log.h"
#include "base/random.h"
#include "chat/replay_log.h"

enum { BUCKETS = 1 << 14 };

/* The record lies behind it as it would in a file. */
struct entry {
    struct replay_key key;
    struct entry *next;                 /* in its bucket */
    struct entry *older, *newer;        /* by use */
    size_t n;
    char payload[];
};

struct replay_store {
    struct hash_key keys[2];
    pthread_mutex_t lock;
    struct entry *buckets[BUCKETS];
    struct entry *oldest, *newest;
    struct replay_counts counts;
    uint32_t vocab_size;
    struct replay_log *log;             /* NULL: in memory only */
};

/* ---- records: key, lead, parts ---- */

static bool take_str(struct str *in, size_t max, struct str *out)
{
    uint32_t n;

    if (!bytes_take_u32(in, &n) || n > max || n > in->n)
        return false;
    *out = (struct str){in->s, n};
    *in = (struct str){in->s + n, in->n - n};
    return true;
}

static void record_write(struct buf *out, struct replay_key key, const struct replay *replay)
{
    bytes_put_u64(out, key.a);
    bytes_put_u64(out, key.b);
    bytes_put_u32(out, (uint32_t)replay->lead.drop.n);
    buf_str(out, replay->lead.drop);
    bytes_put_u32(out, (uint32_t)replay->lead.add.n);
    buf_str(out, replay->lead.add);
    bytes_put_u32(out, (uint32_t)replay->parts_n);
    for (size_t i = 0; i < replay->parts_n; i++) {
        const struct replay_part *part = &replay->parts[i];
        bytes_put_u32(out, (uint32_t)part->bytes);
        bytes_put_u32(out, (uint32_t)part->ids_n);
        for (size_t k = 0; k < part->ids_n; k++)
            bytes_put_u32(out, (uint32_t)part->ids[k]);
    }
}

static bool take_part(struct str *in, struct arena *arena, uint32_t vocab_size,
                      struct replay_part *part)
{
    uint32_t bytes, n, id;

    if (!bytes_take_u32(in, &bytes) || !bytes_take_u32(in, &n) || n > REPLAY_TOKENS_MAX ||
        n > in->n / 4)
        return false;
    int32_t *ids = arena_raw(arena, n * sizeof *ids);
    for (uint32_t i = 0; i < n; i++) {
        if (!bytes_take_u32(in, &id) || id >= vocab_size)
            return false;
        ids[i] = (int32_t)id;
    }
    *part = (struct replay_part){bytes, ids, n};
    return true;
}

/* Texts and tokens lie in the arena. false: not a record of ours. */
static bool record_read(struct str in, struct arena *arena, uint32_t vocab_size,
                        struct replay_key *key, struct replay *replay)
{
    uint32_t parts_n;

    if (!bytes_take_u64(&in, &key->a) || !bytes_take_u64(&in, &key->b) ||
        !take_str(&in, REPLAY_LEAD_BYTES_MAX, &replay->lead.drop) ||
        !take_str(&in, REPLAY_LEAD_BYTES_MAX, &replay->lead.add) ||
        !bytes_take_u32(&in, &parts_n) || parts_n > REPLAY_PARTS_MAX)
        return false;
    replay->lead.drop = arena_str(arena, replay->lead.drop);
    replay->lead.add = arena_str(arena, replay->lead.add);
    replay->parts_n = parts_n;
    for (uint32_t i = 0; i < parts_n; i++)
        if (!take_part(&in, arena, vocab_size, &replay->parts[i]))
            return false;
    return in.n == 0;
}

/* ---- the table; the lock is held ---- */

static struct entry **slot_of(struct replay_store *store, struct replay_key key)
{
    struct entry **slot = &store->buckets[key.a % BUCKETS];

    while (*slot && ((*slot)->key.a != key.a || (*slot)->key.b != key.b))
        slot = &(*slot)->next;
    return slot;
}

static void order_remove(struct replay_store *store, struct entry *entry)
{
    *(entry->older ? &entry->older->newer : &store->oldest) = entry->newer;
    *(entry->newer ? &entry->newer->older : &store->newest) = entry->older;
}

static void order_add(struct replay_store *store, struct entry *entry)
{
    entry->older = store->newest;
    entry->newer = NULL;
    *(store->newest ? &store->newest->newer : &store->oldest) = entry;
    store->newest = entry;
}

static size_t entry_bytes(const struct entry *entry)
{
    return sizeof *entry + entry->n;
}

static void entry_drop(struct replay_store *store, struct entry **slot)
{
    struct entry *entry = *slot;

    *slot = entry->next;
    order_remove(store, entry);
    store->counts.entries--;
    store->counts.bytes -= entry_bytes(entry);
    free(entry);
}

/* payload begins with the key. */
static void entry_put(struct replay_store *store, struct replay_key key, struct str payload)
{
    struct entry *entry = malloc(sizeof *entry + payload.n);

    if (!entry)
        return;                         /* one answer less to be found */
    *entry = (struct entry){.key = key, .n = payload.n};
    memcpy(entry->payload, payload.s, payload.n);
    struct entry **slot = slot_of(store, key);
    if (*slot)
        entry_drop(store, slot);
    entry->next = store->buckets[key.a % BUCKETS];
    store->buckets[key.a % BUCKETS] = entry;
    order_add(store, entry);
    store->counts.entries++;
    store->counts.bytes += entry_bytes(entry);
    while (store->counts.entries > REPLAY_ENTRIES_MAX || store->counts.bytes > REPLAY_BYTES_MAX)
        entry_drop(store, slot_of(store, store->oldest->key));
}

/* ---- from any thread ---- */

static void tell_value(struct buf *told, yyjson_val *value);

static void tell_members(struct buf *told, yyjson_val *object)
{
    size_t i, n;
    yyjson_val *key, *member;

    bytes_put_u64(told, yyjson_obj_size(object));
    yyjson_obj_foreach(object, i, n, key, member) {
        tell_value(told, key);
        tell_value(told, member);
    }
}

static void tell_items(struct buf *told, yyjson_val *array)
{
    size_t i, n;
    yyjson_val *item;

    bytes_put_u64(told, yyjson_arr_size(array));
    yyjson_arr_foreach(array, i, n, item)
        tell_value(told, item);
}

/* A value by what it is, not by how it is spelled: a client parses an input and writes it again.
 * All numbers are what JavaScript makes of them. Nested no deeper than json_parse allows. */
static void tell_value(struct buf *told, yyjson_val *value)
{
    const yyjson_type type = yyjson_get_type(value);
    const double number = yyjson_is_num(value) ? yyjson_get_num(value) + 0.0 : 0;   /* -0 is 0 */
    uint64_t bits;

    buf_char(told, (char)type);
    switch (type) {
    case YYJSON_TYPE_BOOL:
        buf_char(told, yyjson_get_bool(value));
        break;
    case YYJSON_TYPE_NUM:
        memcpy(&bits, &number, sizeof bits);
        bytes_put_u64(told, bits);
        break;
    case YYJSON_TYPE_STR:
        bytes_put_u64(told, yyjson_get_len(value));
        buf_str(told, json_str(value));
        break;
    case YYJSON_TYPE_ARR:
        tell_items(told, value);
        break;
    case YYJSON_TYPE_OBJ:
        tell_members(told, value);
        break;
    default:
        break;
    }
}

static void tell_str(struct buf *told, struct str text)
{
    bytes_put_u64(told, text.n);
    buf_str(told, text);
}

/* What is no text: a thought, or a call. */
static void tell_block(struct buf *told, const struct content_block *block)
{
    struct arena *arena;
    yyjson_val *input;

    bytes_put_u32(told, (uint32_t)block->type);
    if (block->type != BLOCK_TOOL_USE) {
        tell_str(told, block->text);
        tell_str(told, block->signature);
        return;
    }
    tell_str(told, block->id);
    tell_str(told, block->name);
    arena = arena_new(4096);
    if (json_parse(arena, block->text, &input, NULL))
        tell_value(told, input);
    else
        tell_str(told, block->text);
    arena_free(arena);
}

/* Text blocks beside each other continue each other: clients join and cut them. An empty one is as
 * good as none. */
struct replay_key replay_key_of(const struct replay_store *store, uint64_t space,
                                const struct content_block *blocks, size_t blocks_n)
{
    struct buf told = {0}, run = {0};

    bytes_put_u64(&told, space);
    for (size_t i = 0; i < blocks_n; i++) {
        if (blocks[i].type == BLOCK_TEXT)
            buf_str(&run, blocks[i].text);
        if (run.n && (i + 1 == blocks_n || blocks[i + 1].type != BLOCK_TEXT)) {
            bytes_put_u32(&told, BLOCK_TEXT);
            tell_str(&told, buf_view(&run));
            buf_reset(&run);
        }
        if (blocks[i].type != BLOCK_TEXT)
            tell_block(&told, &blocks[i]);
    }
    bytes_put_u32(&told, UINT32_MAX);
    const struct replay_key key = {hash_bytes(store->keys[0], told.data, told.n),
                                   hash_bytes(store->keys[1], told.data, told.n)};
    buf_release(&told);
    buf_release(&run);
    return key;
}

const struct replay *replay_find(struct replay_store *store, struct arena *arena,
                                 struct replay_key key)
{
    struct replay *replay = arena_alloc(arena, sizeof *replay);
    struct replay_key found;

    pthread_mutex_lock(&store->lock);
    struct entry *entry = *slot_of(store, key);
    const bool ok = entry && record_read((struct str){entry->payload, entry->n}, arena,
                                         store->vocab_size, &found, replay);
    if (ok) {
        order_remove(store, entry);
        order_add(store, entry);
    }
    *(ok ? &store->counts.found : &store->counts.missed) += 1;
    pthread_mutex_unlock(&store->lock);
    return ok ? replay : NULL;
}

static bool is_keepable(const struct replay *replay)
{
    size_t ids_n = 0;

    for (size_t i = 0; i < replay->parts_n; i++) {
        if (replay->parts[i].bytes > UINT32_MAX)
            return false;
        ids_n += replay->parts[i].ids_n;
    }
    return ids_n > 0 && ids_n <= REPLAY_TOKENS_MAX &&
           replay->lead.drop.n <= REPLAY_LEAD_BYTES_MAX &&
           replay->lead.add.n <= REPLAY_LEAD_BYTES_MAX;
}

void replay_put(struct replay_store *store, struct replay_key key, const struct replay *replay)
{
    struct buf record = {0};

    if (!is_keepable(replay))
        return;
    record_write(&record, key, replay);
    pthread_mutex_lock(&store->lock);
    entry_put(store, key, buf_view(&record));
    pthread_mutex_unlock(&store->lock);
    if (store->log)
        replay_log_append(store->log, buf_view(&record));
    buf_release(&record);
}

/* A digest is of more than one word: none is equal to a part of one of these. */
struct hash_key replay_secret(const struct replay_store *store, uint64_t purpose)
{
    return (struct hash_key){hash_bytes(store->keys[0], &purpose, sizeof purpose),
                             hash_bytes(store->keys[1], &purpose, sizeof purpose)};
}

struct replay_counts replay_counts(struct replay_store *store)
{
    pthread_mutex_lock(&store->lock);
    struct replay_counts counts = store->counts;
    pthread_mutex_unlock(&store->lock);
    counts.file_bytes = store->log ? replay_log_bytes(store->log) : 0;
    return counts;
}

struct replay replay_copy(struct arena *arena, const struct replay *replay)
{
    struct replay copy = *replay;

    copy.lead.drop = arena_str(arena, replay->lead.drop);
    copy.lead.add = arena_str(arena, replay->lead.add);
    for (size_t i = 0; i < replay->parts_n; i++) {
        const struct replay_part *part = &replay->parts[i];
        int32_t *ids = arena_array(arena, part->ids_n, sizeof *ids);
        if (part->ids_n)
            memcpy(ids, part->ids, part->ids_n * sizeof *ids);
        copy.parts[i].ids = ids;
    }
    return copy;
}

size_t replay_whole(const uint32_t *ends, size_t n, size_t bytes)
{
    while (n > 0 && (ends[n - 1] == REPLAY_WITHIN || ends[n - 1] > bytes))
        n--;
    return n;
}

/* ---- the file ---- */

static void on_record(void *context, struct str payload)
{
    struct replay_store *store = context;
    struct arena *arena = arena_new(4096);
    struct replay_key key;
    struct replay replay;

    if (record_read(payload, arena, store->vocab_size, &key, &replay))
        entry_put(store, key, payload);
    arena_free(arena);
}

static void write_all(void *context, struct replay_log *log, struct buf *out)
{
    struct replay_store *store = context;

    pthread_mutex_lock(&store->lock);
    for (const struct entry *entry = store->oldest; entry; entry = entry->newer)
        replay_log_frame(log, out, (struct str){entry->payload, entry->n});
    pthread_mutex_unlock(&store->lock);
}

static void open_log(struct replay_store *store, const struct replay_options *options)
{
    const struct replay_log_options log = {
        .path = options->path, .model = options->model, .on_record = on_record,
        .write_all = write_all, .context = store,
    };
    struct err err = {0};
    char reason[300];

    store->log = replay_log_open(&log, store->keys, &err);
    if (store->log)
        replay_log_start(store->log);
    else
        log_event(LOG_WARN, "replay_in_memory", "reason=%s",
                  log_quote(reason, sizeof reason, str_of(err.text)));
}

struct replay_store *replay_new(const struct replay_options *options)
{
    struct replay_store *store = calloc(1, sizeof *store);

    if (!store)
        return NULL;
    if (pthread_mutex_init(&store->lock, NULL) != 0) {
        free(store);
        return NULL;
    }
    random_bytes(store->keys, sizeof store->keys);
    store->vocab_size = options->vocab_size;
    if (options->path)
        open_log(store, options);
    return store;
}

void replay_free(struct replay_store *store)
{
    if (!store)
        return;
    replay_log_close(store->log);
    for (struct entry *entry = store->oldest, *newer; entry; entry = newer) {
        newer = entry->newer;
        free(entry);
    }
    pthread_mutex_destroy(&store->lock);
    free(store);
}
