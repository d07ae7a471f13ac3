// Runs a loop of tools with the AI SDK. Reads {url, key, format, model, stream, prompt} from its
// standard input, and writes what came of it as one line.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { text } from "node:stream/consumers";
import { z } from "zod";

const asked = JSON.parse(await text(process.stdin));
const openai = createOpenAI({ baseURL: `${asked.url}/v1`, apiKey: asked.key });
const anthropic = createAnthropic({ baseURL: `${asked.url}/v1`, authToken: asked.key });
const models = {
  chat: () => openai.chat(asked.model),
  responses: () => openai.responses(asked.model),
  messages: () => anthropic(asked.model),
};

const looked = [];
const look = tool({
  description: "Says how the weather of a city is.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => {
    looked.push(city);
    return `Rain in ${city}.`;
  },
});
const call = {
  model: models[asked.format](),
  system: "Be brief.",
  prompt: asked.prompt,
  tools: { look },
  stopWhen: stepCountIs(5),
  maxRetries: 0,
  providerOptions: asked.options ?? {},
};

async function run() {
  if (!asked.stream) return await generateText(call);
  const failed = [];
  const result = streamText({ ...call, onError: ({ error }) => failed.push(error) });
  await result.consumeStream({ onError: (error) => failed.push(error) });
  if (failed.length) throw failed[0];
  return {
    text: await result.text,
    steps: await result.steps,
    finishReason: await result.finishReason,
    totalUsage: await result.totalUsage,
  };
}

try {
  const { text, steps, finishReason, totalUsage } = await run();
  const reasoning = steps.map((step) => step.reasoningText ?? "");
  console.log(JSON.stringify({ text, finishReason, totalUsage, looked, reasoning }));
} catch (error) {
  const { name, message, statusCode, responseBody } = error;
  console.log(JSON.stringify({ error: name, message, statusCode, responseBody, looked }));
}
