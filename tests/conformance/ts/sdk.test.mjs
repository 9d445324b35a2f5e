// The official TypeScript SDK against Pensieve, with nothing but base URL and key changed.
//
// Run by test_sdk_typescript.py, once for each major: SDK names the package (sdk1: the current one,
// sdk0: the last before 1.0), PENSIEVE_URL the server, PENSIEVE_SMALL_URL one with a 16 KiB body
// limit and a context of 256 tokens.
import assert from 'node:assert/strict';
import { test } from 'node:test';

const sdk = await import(process.env.SDK);
const Anthropic = sdk.default;
const current = process.env.SDK === 'sdk1';
const MODEL = 'claude-sonnet-5';
const COUNT = [{ role: 'user', content: 'Count to 3' }];
const KEY = 'pensieve-local-token';

const clientOf = (baseURL, options = {}) =>
    new Anthropic({ baseURL, apiKey: KEY, maxRetries: 0, ...options });
const client = clientOf(process.env.PENSIEVE_URL);
const small = clientOf(process.env.PENSIEVE_SMALL_URL);

// Sampling fields left the types of 1.0, but what is given is still sent.
const greedy = (request = {}) => ({
    model: MODEL, max_tokens: 24, messages: COUNT, temperature: 0, ...request,
});
const textOf = (message) => message.content.map((block) => block.text).join('');

async function refused(ErrorClass, call, status, type) {
    let error;
    await assert.rejects(call, (caught) => { error = caught; return true; });
    assert.ok(error instanceof ErrorClass, `${error.constructor.name}: ${error.message}`);
    assert.equal(error.status, status);
    assert.equal(error.error.type, 'error');
    assert.equal(error.error.error.type, type);
    assert.match(error.requestID, /^req_/);
    assert.equal(error.error.request_id, error.requestID);
    return error.error.error.message;
}

test('speaks the version and key header that it is here for', async () => {
    let sent;
    const spy = clientOf(process.env.PENSIEVE_URL, {
        fetch: (url, init) => { sent = new Headers(init.headers); return fetch(url, init); },
    });
    await spy.models.list();
    assert.equal(sent.get('anthropic-version'), current ? '2026-10-21' : '2023-06-01');
    assert.equal(sent.has('x-api-key'), !current);
    assert.equal(sent.has('authorization'), current);
});

test('parse gives the value that the schema asks for', async () => {
    const { jsonSchemaOutputFormat } = await import(`${process.env.SDK}/helpers/json-schema`);
    const schema = {
        type: 'object', properties: { town: { type: 'string' }, people: { type: 'integer' } },
        required: ['town', 'people'], additionalProperties: false,
    };
    const message = await client.messages.parse({
        model: MODEL, max_tokens: 60, messages: COUNT,
        output_config: { format: jsonSchemaOutputFormat(schema) },
    });
    assert.equal(message.stop_reason, 'end_turn');
    assert.deepEqual(Object.keys(message.parsed_output), ['town', 'people']);
});

test('create', async () => {
    const message = await client.messages.create(greedy());
    assert.match(message.id, /^msg_01/);
    assert.deepEqual([message.type, message.role, message.model], ['message', 'assistant', MODEL]);
    assert.deepEqual(message.content.map((block) => block.type), ['text']);
    assert.notEqual(textOf(message), '');
    assert.ok(['end_turn', 'max_tokens'].includes(message.stop_reason), message.stop_reason);
    assert.equal(message.stop_sequence, null);
    assert.ok(message.usage.input_tokens > 0);
    assert.ok(message.usage.output_tokens > 0 && message.usage.output_tokens <= 24);
    assert.match(message._request_id, /^req_/);
});

test('create with stream: true yields the wire events', async () => {
    const types = [];
    for await (const event of await client.messages.create(greedy({ stream: true }))) {
        types.push(event.type);
    }
    assert.deepEqual([...new Set(types)], [
        'message_start', 'content_block_start', 'content_block_delta', 'content_block_stop',
        'message_delta', 'message_stop',
    ]);
    assert.ok(types.filter((type) => type === 'content_block_delta').length > 1);
});

test('stream accumulates the message that create returns', async () => {
    const created = await client.messages.create(greedy());
    let text = '';
    const stream = client.messages.stream(greedy()).on('text', (delta) => { text += delta; });
    const message = await stream.finalMessage();
    assert.equal(text, textOf(message));
    assert.equal(text, textOf(created));
    assert.equal(message.stop_reason, created.stop_reason);
    assert.equal(message.usage.input_tokens, created.usage.input_tokens);
    assert.equal(message.usage.output_tokens, created.usage.output_tokens);
    assert.notEqual(message.id, created.id);
    assert.match(stream.request_id, /^req_/);
});

test('abort ends the stream', async () => {
    const stream = client.messages.stream(greedy({ max_tokens: 400 }));
    await assert.rejects(async () => {
        for await (const event of stream) {
            if (event.type === 'content_block_delta') stream.controller.abort();
        }
        await stream.finalMessage();
    }, sdk.APIUserAbortError);
});

const requests = {
    text: { messages: COUNT },
    system: { system: 'You are terse.', messages: COUNT },
    'system blocks': {
        system: [{ type: 'text', text: 'You are terse.' }, { type: 'text', text: 'Be kind.' }],
        messages: COUNT,
    },
    turns: {
        messages: [
            { role: 'user', content: 'Hi' },
            { role: 'assistant', content: 'Hello!' },
            { role: 'user', content: [{ type: 'text', text: 'Grüße, 世界 👋🏽' }] },
        ],
    },
    prefill: { messages: [...COUNT, { role: 'assistant', content: '1, 2,' }] },
    'thinking adaptive': { thinking: { type: 'adaptive' }, messages: COUNT },
    'thinking disabled': { thinking: { type: 'disabled' }, messages: COUNT },
    cache_control: {
        system: [{ type: 'text', text: 'You are terse.', cache_control: { type: 'ephemeral' } }],
        messages: [{
            role: 'user',
            content: [{
                type: 'text', text: 'Count to 3', cache_control: { type: 'ephemeral', ttl: '5m' },
            }],
        }],
    },
};
for (const [name, request] of Object.entries(requests)) {
    test(`count_tokens is what create will use: ${name}`, async () => {
        const counted = await client.messages.countTokens({ model: MODEL, ...request });
        const { usage } = await client.messages.create({ model: MODEL, max_tokens: 3, ...request });
        assert.equal(
            counted.input_tokens,
            usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens,
        );
        assert.ok(usage.output_tokens >= 1 && usage.output_tokens <= 3);
    });
}

test('models', async () => {
    const page = await client.models.list();
    assert.ok(page.data.length > 0);
    for await (const listed of client.models.list()) {
        assert.equal(listed.type, 'model');
        const { _request_id, ...retrieved } = await client.models.retrieve(listed.id);
        assert.deepEqual(retrieved, listed);
    }
    assert.equal((await client.models.retrieve(MODEL)).type, 'model');
    const model = page.data[0].id;
    const message = await client.messages.create(greedy({ model, max_tokens: 1 }));
    assert.equal(message.model, model);
});

test('max_tokens 1', async () => {
    const message = await client.messages.create(greedy({ max_tokens: 1 }));
    assert.equal(message.stop_reason, 'max_tokens');
    assert.equal(message.usage.output_tokens, 1);
});

test('stop_sequences', async () => {
    const whole = textOf(await client.messages.create(greedy()));
    const stop = whole.slice(whole.length / 2, whole.length / 2 + 3);
    assert.notEqual(stop.trim(), '');
    const message = await client.messages
        .stream(greedy({ stop_sequences: ['never said', stop] })).finalMessage();
    assert.equal(message.stop_reason, 'stop_sequence');
    assert.equal(message.stop_sequence, stop);
    assert.equal(textOf(message), whole.slice(0, whole.indexOf(stop)));
});

test('prefill is continued, not repeated', async () => {
    const messages = [...COUNT, { role: 'assistant', content: '1, 2,' }];
    const message = await client.messages.create(greedy({ messages }));
    assert.ok(!textOf(message).startsWith('1, 2,'));
});

test('temperature 0 gives the same text each time', async () => {
    const texts = new Set();
    for (let i = 0; i < 3; i++) texts.add(textOf(await client.messages.create(greedy())));
    assert.equal(texts.size, 1);
});

test('message ids are unique', async () => {
    const messages = await Promise.all(
        Array.from({ length: 8 }, () => client.messages.create(greedy({ max_tokens: 1 }))));
    assert.equal(new Set(messages.map((message) => message.id)).size, 8);
});

test('content of an answer is accepted back as it came', async () => {
    const first = await client.messages.stream(greedy()).finalMessage();
    const again = await client.messages.create(greedy({
        messages: [
            ...COUNT,
            { role: 'assistant', content: first.content },
            { role: 'user', content: 'And backwards?' },
        ],
    }));
    assert.notEqual(textOf(again), '');
});

test('a wrong key', async () => {
    const wrong = clientOf(process.env.PENSIEVE_URL, { apiKey: 'wrong' });
    const message = await refused(
        sdk.AuthenticationError, () => wrong.messages.create(greedy()), 401, 'authentication_error');
    assert.ok(!message.includes('wrong'));
});

test('an auth token', async () => {
    const bearer = clientOf(process.env.PENSIEVE_URL, { apiKey: null, authToken: KEY });
    const counted = await bearer.messages.countTokens({ model: MODEL, messages: COUNT });
    assert.ok(counted.input_tokens > 0);
});

test('an unknown model', async () => {
    const message = await refused(
        sdk.NotFoundError, () => client.messages.create(greedy({ model: 'gpt-oss' })),
        404, 'not_found_error');
    assert.equal(message, 'model: gpt-oss');
    await refused(
        sdk.NotFoundError, () => client.models.retrieve('org/gpt:oss'), 404, 'not_found_error');
});

test('an invalid request', async () => {
    const message = await refused(
        sdk.BadRequestError, () => client.messages.create(greedy({ messages: [] })),
        400, 'invalid_request_error');
    assert.equal(message, 'messages: at least one message is required');
});

test('an invalid request of a stream is an error before the stream', async () => {
    await refused(
        sdk.BadRequestError, () => client.messages.stream(greedy({ messages: [] })).finalMessage(),
        400, 'invalid_request_error');
});

const tool = { name: 'clock', description: 'The time', input_schema: {
    type: 'object', properties: { zone: { enum: ['UTC', 'local'] } }, required: ['zone'],
    additionalProperties: false,
} };
test('a forced call of a tool', async () => {
    const message = await client.messages.create(greedy({
        tools: [tool], tool_choice: { type: 'tool', name: 'clock', disable_parallel_tool_use: true },
    }));
    const [call] = message.content;
    assert.deepEqual([call.type, call.name, typeof call.input], ['tool_use', 'clock', 'object']);
});

test('hosted tools are refused by name', async () => {
    const message = await refused(
        sdk.BadRequestError,
        () => client.messages.create(greedy({
            tools: [{ type: 'web_search_20250305', name: 'web_search' }],
        })),
        400, 'invalid_request_error');
    assert.match(message, /^tools.0: tool type 'web_search_20250305' is not available/);
});

test('a body too large', async () => {
    const messages = [{ role: 'user', content: 'word '.repeat(10000) }];
    // 1.0 gave 413 a class of its own.
    await refused(
        sdk.ContentTooLargeError ?? sdk.APIError, () => small.messages.create(greedy({ messages })),
        413, 'request_too_large');
});

test('a prompt too long', async () => {
    const messages = [{ role: 'user', content: 'word '.repeat(600) }];
    const message = await refused(
        sdk.BadRequestError, () => small.messages.create(greedy({ messages })),
        400, 'invalid_request_error');
    assert.match(message, /^prompt is too long: \d+ tokens > \d+ maximum$/);
});

test('the beta namespace', async () => {
    const message = await client.beta.messages.create(greedy({ betas: ['context-1m-2025-08-07'] }));
    assert.notEqual(textOf(message), '');
    const counted = await client.beta.messages.countTokens({ model: MODEL, messages: COUNT });
    assert.equal(counted.input_tokens, message.usage.input_tokens);
});

test('the tool runner does without threads', async () => {
    // It asks the server to keep the conversation, and falls back when it is told no.
    const runner = client.beta.messages.toolRunner({
        model: MODEL, max_tokens: 8, messages: COUNT, tools: [],
    });
    assert.notEqual(textOf(await runner.runUntilDone()), '');
});

test('the tool runner gets a call that it can run', async () => {
    const runner = client.beta.messages.toolRunner(greedy({
        max_tokens: 200,
        tool_choice: { type: 'tool', name: 'clock', disable_parallel_tool_use: true },
        tools: [{ ...tool, type: 'custom', run: () => 'noon', parse: (input) => input }],
    }));
    for await (const message of runner) {
        assert.equal(message.stop_reason, 'tool_use');
        assert.equal(message.content[0].name, 'clock');
        break;
    }
});
