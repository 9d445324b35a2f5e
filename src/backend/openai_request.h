/* openai_request.h - a request as OpenAI's /v1/chat/completions takes it.
 *
 * Beyond OpenAI's own fields: top_k; for an answer that the request begins, vLLM's
 * add_generation_prompt and continue_final_message; on assistant messages reasoning_content, for
 * thoughts. Each is sent only where the request has it. */
#ifndef PENSIEVE_BACKEND_OPENAI_REQUEST_H
#define PENSIEVE_BACKEND_OPENAI_REQUEST_H

#include "api/request.h"
#include "base/buf.h"

struct openai_target {
    struct str model;
    struct str extra;                   /* members to add, without their braces; n == 0: none */
};

/* The request for a streamed answer. */
void openai_write_request(struct buf *out, const struct openai_target *target,
                          const struct message_request *request);
/* What the prompt is made of and nothing else: vLLM's /tokenize, llama-server's /apply-template. */
void openai_write_prompt(struct buf *out, const struct openai_target *target,
                         const struct message_request *request);

#endif
