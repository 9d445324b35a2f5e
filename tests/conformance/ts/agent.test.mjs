// The Claude Agent SDK, which drives Claude Code, against a played model: a streamed text, and a loop
// with a tool that runs in this process. Run by test_claude_flows.py; CLAUDE is the client's program.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createSdkMcpServer, query, tool } from '@anthropic-ai/claude-agent-sdk';
import { z } from 'zod';

const options = {
    pathToClaudeCodeExecutable: process.env.CLAUDE,
    systemPrompt: 'You are a helper.',
    tools: [],
    settingSources: [],
    includePartialMessages: true,
    cwd: process.env.FOLDER,
};

async function all(messages) {
    const seen = [];
    for await (const message of messages)
        seen.push(message);
    return seen;
}

const result = (seen) => seen.find((message) => message.type === 'result');

test('a streamed text', async () => {
    const seen = await all(query({ prompt: 'Count to three', options }));
    assert.equal(result(seen).subtype, 'success');
    assert.equal(result(seen).result, 'One, two, three.');
    const pieces = seen.filter((message) => message.type === 'stream_event')
        .map((message) => message.event)
        .filter((event) => event.type === 'content_block_delta');
    assert.ok(pieces.length > 1);
    assert.equal(pieces.map((event) => event.delta.text).join(''), 'One, two, three.');
});

test('a tool loop', async () => {
    const asked = [];
    const weather = tool('weather', 'The weather now.', { town: z.string() }, async ({ town }) => {
        asked.push(town);
        return { content: [{ type: 'text', text: `rain in ${town}` }] };
    });
    const seen = await all(query({
        prompt: 'The weather in one town?',
        options: {
            ...options,
            mcpServers: { here: createSdkMcpServer({ name: 'here', version: '1', tools: [weather] }) },
            allowedTools: ['mcp__here__weather'],
        },
    }));
    assert.deepEqual(asked, ['Bergen']);
    assert.equal(result(seen).result, 'It rains in Bergen.');
    assert.equal(result(seen).num_turns, 2);
});
