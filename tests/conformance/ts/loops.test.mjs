// Tool loops written by others, against a played model: the TypeScript SDK's runner, the AI SDK,
// LangChain. Each streams a text and calls a tool. Run by test_tool_runners.py, whose script the server
// at PENSIEVE_URL plays.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createAnthropic } from '@ai-sdk/anthropic';
import { ChatAnthropic } from '@langchain/anthropic';
import { HumanMessage, ToolMessage } from '@langchain/core/messages';
import { tool as langchainTool } from '@langchain/core/tools';
import { generateText, stepCountIs, streamText, tool } from 'ai';
import Anthropic from 'sdk1';
import { betaZodTool } from 'sdk1/helpers/beta/zod';
import { z } from 'zod';

const URL = process.env.PENSIEVE_URL;
const KEY = 'pensieve-local-token';
const MODEL = 'scripted-model';
const ONE = 'The weather in one town?';
const TWO = 'The weather in two towns?';
const RAINS = 'It rains in Bergen — as ever.';
const BOTH = 'Rain in Bergen; there is no Atlantis.';
const COUNTED = 'One, two, three.';

const description = 'The weather now.';
const town = z.object({ town: z.string() });

function weather(asked) {
    return ({ town }) => {
        asked.push(town);
        if (town === 'Atlantis')
            throw new Error('no such town');
        return `rain in ${town}`;
    };
}

test('the TypeScript SDK: its runner, streamed and not', async () => {
    const sent = [];
    const client = new Anthropic({
        baseURL: URL, apiKey: KEY, maxRetries: 0,
        fetch: (url, init) => { sent.push(JSON.parse(init.body)); return fetch(url, init); },
    });
    const settings = (asked, content) => ({
        model: MODEL, max_tokens: 500, messages: [{ role: 'user', content }],
        tools: [betaZodTool({ name: 'weather', description, inputSchema: town, run: weather(asked) })],
    });
    let asked = [];
    const last = await client.beta.messages.toolRunner(settings(asked, TWO));
    assert.deepEqual(asked, ['Bergen', 'Atlantis']);
    assert.equal(last.content[0].text, BOTH);
    // a thread was asked for and refused; then all was sent, twice
    assert.deepEqual(sent.map((body) => 'thread' in body), [true, false, false]);
    assert.equal(sent[2].messages.length, 3);
    const results = sent[2].messages[2].content;
    assert.deepEqual(results.map((result) => result.is_error === true), [false, true]);

    asked = [];
    const texts = [];
    const calls = [];
    const runner = client.beta.messages.toolRunner({ ...settings(asked, ONE), stream: true });
    for await (const stream of runner) {
        stream.on('text', (text) => texts.push(text));
        stream.on('inputJson', (json) => calls.push(json));
        await stream.finalMessage();
    }
    assert.deepEqual(asked, ['Bergen']);
    assert.equal(texts.join(''), RAINS);
    assert.ok(texts.length > 1);
    assert.deepEqual(JSON.parse(calls.join('')), { town: 'Bergen' });
});

test('the AI SDK: a streamed text', async () => {
    const anthropic = createAnthropic({ baseURL: `${URL}/v1`, apiKey: KEY });
    const { textStream, finishReason, usage } = streamText({
        model: anthropic(MODEL), prompt: 'Count to three', maxOutputTokens: 100, maxRetries: 0,
        onError: ({ error }) => { throw error; },
    });
    const pieces = [];
    for await (const piece of textStream)
        pieces.push(piece);
    assert.equal(pieces.join(''), COUNTED);
    assert.ok(pieces.length > 1);
    assert.equal(await finishReason, 'stop');
    assert.ok((await usage).inputTokens > 0 && (await usage).outputTokens > 0);
});

test('the AI SDK: a tool loop', async () => {
    const anthropic = createAnthropic({ baseURL: `${URL}/v1`, apiKey: KEY });
    const asked = [];
    const answer = await generateText({
        model: anthropic(MODEL), prompt: TWO, maxOutputTokens: 500, maxRetries: 0,
        tools: { weather: tool({ description, inputSchema: town, execute: weather(asked) }) },
        stopWhen: stepCountIs(4),
    });
    assert.deepEqual(asked, ['Bergen', 'Atlantis']);
    assert.equal(answer.text, BOTH);
    assert.deepEqual(answer.steps.map((step) => step.finishReason), ['tool-calls', 'stop']);
    assert.equal(answer.steps[0].toolCalls.length, 2);
});

test('LangChain: a streamed text', async () => {
    const chat = new ChatAnthropic({
        model: MODEL, anthropicApiUrl: URL, apiKey: KEY, maxTokens: 100, maxRetries: 0,
    });
    const pieces = [];
    for await (const chunk of await chat.stream('Count to three'))
        pieces.push(chunk.text);
    assert.equal(pieces.join(''), COUNTED);
    assert.ok(pieces.length > 1);
});

test('LangChain: a tool loop, streamed', async () => {
    const asked = [];
    const chat = new ChatAnthropic({
        model: MODEL, anthropicApiUrl: URL, apiKey: KEY, maxTokens: 500, maxRetries: 0,
    });
    const one = langchainTool(weather(asked), { name: 'weather', description, schema: town });
    const bound = chat.bindTools([one]);
    const messages = [new HumanMessage(ONE)];
    let message;
    for await (const chunk of await bound.stream(messages))
        message = message ? message.concat(chunk) : chunk;
    assert.deepEqual(message.tool_calls.map(({ name, args }) => [name, args]),
        [['weather', { town: 'Bergen' }]]);
    messages.push(message);
    for (const call of message.tool_calls)
        messages.push(new ToolMessage({ content: await one.invoke(call.args), tool_call_id: call.id }));
    const last = await bound.invoke(messages);
    assert.deepEqual(asked, ['Bergen']);
    assert.equal(last.text, RAINS);
});
