/* sign.h - signatures of thinking blocks: text to clients, and to us the proof that a block that comes back
 * is one that this model said here, unchanged.
 *
 *     signature = base64("PVT" u8 kind  u64 key  u64 salt  u64 mac[2])
 *
 * key names the secret, which is a model's and outlives a restart as what was sampled does. mac is two
 * keyed SipHashes (128 bits) over kind, salt and the text; of a block that was sent without its text, over
 * kind and salt. The salt makes each signature its own, so that it alone leads to what was sampled. */
#ifndef PENSIEVE_BACKEND_SIGN_H
#define PENSIEVE_BACKEND_SIGN_H

#include "base/arena.h"
#include "base/hash.h"
#include "base/str.h"

struct signer {
    struct hash_key keys[2];
    uint64_t name;                      /* of the keys */
};

/* secret: two keys that nobody else has; NULL: drawn now, so what is signed is ours as long as the signer
 * lasts. */
void signer_init(struct signer *signer, const struct hash_key secret[2]);

/* In the arena. omitted: the text is not sent. */
struct str sign_thought(struct arena *arena, const struct signer *signer, struct str text,
                        bool omitted);

enum signature {
    SIGNATURE_OURS,
    SIGNATURE_UNTOLD,           /* ours, of a block that was sent without its text: any text goes with it */
    SIGNATURE_FOREIGN,          /* another server's, another model's, or of before the secret was lost */
    SIGNATURE_BROKEN,           /* our secret is named, but it was not so signed */
};
enum signature sign_check(const struct signer *signer, struct str text, struct str signature);

#endif
