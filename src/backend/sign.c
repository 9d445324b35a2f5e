/* sign.c - see sign.h. */
#include "backend/sign.h"

#include "base/base64.h"
#include "base/bytes.h"
#include "base/random.h"

enum { KIND_TOLD = 't', KIND_OMITTED = 'o', SIGNED_BYTES = 4 + 8 + 8 + 16 };

struct parts {
    char kind;
    uint64_t key, salt, mac[2];
};

void signer_init(struct signer *signer, const struct hash_key secret[2])
{
    static const char name[] = "the name of a key that signs thoughts";

    if (secret)
        memcpy(signer->keys, secret, sizeof signer->keys);
    else
        random_bytes(signer->keys, sizeof signer->keys);
    signer->name = hash_bytes(signer->keys[0], name, sizeof name);
}

static void sign(const struct signer *signer, struct parts *parts, struct str text)
{
    struct buf told = {0};

    buf_char(&told, parts->kind);
    bytes_put_u64(&told, parts->salt);
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
    struct buf bytes = {0}, out = {0};

    sign(signer, &parts, text);
    buf_cstr(&bytes, "PVT");
    buf_char(&bytes, parts.kind);
    bytes_put_u64(&bytes, parts.key);
    bytes_put_u64(&bytes, parts.salt);
    bytes_put_u64(&bytes, parts.mac[0]);
    bytes_put_u64(&bytes, parts.mac[1]);
    base64_put(&out, bytes.data, bytes.n);
    const struct str signature = arena_str(arena, buf_view(&out));
    buf_release(&bytes);
    buf_release(&out);
    return signature;
}

static bool parts_read(struct str signature, struct parts *parts)
{
    struct buf bytes = {0};
    bool ok = signature.n == SIGNED_BYTES / 3 * 4 && base64_take(&bytes, signature) &&
              bytes.n == SIGNED_BYTES && memcmp(bytes.data, "PVT", 3) == 0;

    if (ok) {
        struct str in = {bytes.data + 4, bytes.n - 4};
        parts->kind = bytes.data[3];
        ok = bytes_take_u64(&in, &parts->key) && bytes_take_u64(&in, &parts->salt) &&
             bytes_take_u64(&in, &parts->mac[0]) && bytes_take_u64(&in, &parts->mac[1]);
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
