/* sign.c - see sign.h. */
#include "backend/sign.h"

#include "base/base64.h"
#include "base/random.h"

enum { KIND_TOLD = 't', KIND_OMITTED = 'o', SIGNED_BYTES = 4 + 8 + 8 + 16 };

struct parts {
    unsigned char kind;
    uint64_t key, salt, mac[2];
};

static void put_u64(unsigned char *out, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        out[i] = (unsigned char)(value >> 8 * i);
}

static uint64_t take_u64(const unsigned char *in)
{
    uint64_t value = 0;

    for (int i = 0; i < 8; i++)
        value |= (uint64_t)in[i] << 8 * i;
    return value;
}

void signer_init(struct signer *signer, const struct hash_key secret[2])
{
    static const char name[] = "the name of a key that signs thoughts";

    *signer = (struct signer){.keys = {secret[0], secret[1]}};
    signer->name = hash_bytes(secret[0], name, sizeof name);
}

static void sign(const struct signer *signer, struct parts *parts, struct str text)
{
    unsigned char head[9] = {parts->kind};
    struct buf told = {0};

    put_u64(head + 1, parts->salt);
    buf_append(&told, head, sizeof head);
    if (parts->kind == KIND_TOLD)
        buf_str(&told, text);
    for (int i = 0; i < 2; i++)
        parts->mac[i] = hash_bytes(signer->keys[i], told.data, told.n);
    buf_release(&told);
}

struct str sign_thought(struct arena *arena, const struct signer *signer, struct str text,
                        bool omitted)
{
    struct parts parts = {
        .kind = omitted ? KIND_OMITTED : KIND_TOLD, .key = signer->name, .salt = random_u64(),
    };
    unsigned char bytes[SIGNED_BYTES] = {'P', 'V', 'T', parts.kind};
    struct buf out = {0};

    sign(signer, &parts, text);
    put_u64(bytes + 4, parts.key);
    put_u64(bytes + 12, parts.salt);
    put_u64(bytes + 20, parts.mac[0]);
    put_u64(bytes + 28, parts.mac[1]);
    base64_put(&out, bytes, sizeof bytes);
    const struct str signature = arena_str(arena, buf_view(&out));
    buf_release(&out);
    return signature;
}

static bool parts_read(struct str signature, struct parts *parts)
{
    struct buf bytes = {0};
    bool ok = signature.n == SIGNED_BYTES / 3 * 4 && base64_take(&bytes, signature) &&
              bytes.n == SIGNED_BYTES && memcmp(bytes.data, "PVT", 3) == 0;

    if (ok) {
        const unsigned char *p = (const unsigned char *)bytes.data;
        *parts = (struct parts){
            .kind = p[3], .key = take_u64(p + 4), .salt = take_u64(p + 12),
            .mac = {take_u64(p + 20), take_u64(p + 28)},
        };
    }
    buf_release(&bytes);
    return ok;
}

enum signature sign_check(const struct signer *signer, struct str text, struct str signature)
{
    struct parts parts, right;

    if (!parts_read(signature, &parts) || parts.key != signer->name)
        return SIGNATURE_FOREIGN;
    right = parts;
    sign(signer, &right, text);
    const bool same = ((right.mac[0] ^ parts.mac[0]) | (right.mac[1] ^ parts.mac[1])) == 0;
    if (same && parts.kind == KIND_OMITTED)
        return SIGNATURE_UNTOLD;
    return same && parts.kind == KIND_TOLD ? SIGNATURE_OURS : SIGNATURE_BROKEN;
}
