// Runs a loop of tools with the AI SDK. Reads {url, key, format, model, stream, prompt} from its
// standard input, and writes what came of it as one line.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { text } from "node:stream/consumers";
import { z } from "zod";

const request = JSON.parse(await text(process.stdin));
const openai = createOpenAI({ baseURL: `${request.url}/v1`, apiKey: request.key });
const anthropic = createAnthropic({ baseURL: `${request.url}/v1`, authToken: request.key });
const models = {
  chat: () => openai.chat(request.model),
  responses: () => openai.responses(request.model),
  messages: () => anthropic(request.model),
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
  model: models[request.format](),
  system: "Be brief.",
  prompt: request.prompt,
  tools: { look },
  stopWhen: stepCountIs(5),
  maxRetries: 0,
  providerOptions: request.options ?? {},
};

async function run() {
  if (!request.stream) return await generateText(call);
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
