"""The SDKs' view of the stand-in: answers, streams, tool calls, usage and errors, per format."""

import json
from typing import Any

import anthropic
import openai
import pytest
from openai.types.chat import ChatCompletionToolParam
from openai.types.responses import FunctionToolParam

from tests.service.local.conftest import StandInProvider

SCRIPT = "Hello [[stand-in input_tokens=100 output_tokens=30 cached_tokens=40 reasoning_tokens=9]]"
SCHEMA: dict[str, object] = {"type": "object", "properties": {}}
CHAT_TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "look_up", "parameters": SCHEMA},
}
RESPONSES_TOOL: FunctionToolParam = {
    "type": "function",
    "name": "look_up",
    "parameters": SCHEMA,
    "strict": False,
}
ECHO = "[local stand-in] You said: Hello"


class TestChat:
    def test_stream_says_what_the_json_answer_says(self, openai_client: openai.OpenAI) -> None:
        answer = openai_client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": SCRIPT}]
        )
        chunks = list(
            openai_client.chat.completions.create(
                model="gpt-4o",
                messages=[{"role": "user", "content": SCRIPT}],
                stream=True,
                stream_options={"include_usage": True},
            )
        )
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == answer.choices[0].message.content == ECHO
        assert chunks[0].choices[0].delta.role == "assistant"
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-2:] == [None, "stop"]
        assert chunks[-1].choices == []
        assert [c.usage for c in chunks[:-1]] == [None] * (len(chunks) - 1)
        assert chunks[-1].usage == answer.usage
        usage = answer.usage
        assert usage is not None
        assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (100, 30, 130)
        assert usage.prompt_tokens_details is not None
        assert usage.prompt_tokens_details.cached_tokens == 40
        assert usage.completion_tokens_details is not None
        assert usage.completion_tokens_details.reasoning_tokens == 9

    def test_usage_is_streamed_only_when_asked_for(self, provider: StandInProvider) -> None:
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]}
        without_usage = provider.post("/v1/chat/completions", body).text
        with_usage = provider.post(
            "/v1/chat/completions", {**body, "stream_options": {"include_usage": True}}
        ).text
        assert "usage" not in without_usage
        frames = [frame.removeprefix("data: ") for frame in with_usage.strip().split("\n\n")]
        assert frames[-1] == "[DONE]"
        assert all('"usage":null' in frame for frame in frames[:-2])
        assert json.loads(frames[-2])["usage"]["total_tokens"] > 0

    def test_calls_a_tool_until_its_result_arrives(self, openai_client: openai.OpenAI) -> None:
        question = {"role": "user", "content": "Hi [[stand-in tool_call=look_up]]"}

        def ask(*messages: Any) -> Any:
            return openai_client.chat.completions.create(
                model="m", messages=list(messages), tools=[CHAT_TOOL]
            ).choices[0]

        choice = ask(question)
        call = choice.message.tool_calls[0]
        assert choice.finish_reason == "tool_calls"
        assert call.function.name == "look_up"
        assert json.loads(call.function.arguments) == {"stand_in": True, "echo": "Hi"}
        result = {"role": "tool", "tool_call_id": call.id, "content": "42"}
        assert ask(question, choice.message, result).finish_reason == "stop"

    def test_streams_a_tool_calls_arguments(self, openai_client: openai.OpenAI) -> None:
        with openai_client.chat.completions.stream(
            model="m",
            messages=[{"role": "user", "content": "Hi [[stand-in tool_call=look_up chunks=4]]"}],
            tools=[CHAT_TOOL],
        ) as stream:
            calls = stream.get_final_completion().choices[0].message.tool_calls
        assert calls is not None
        assert json.loads(calls[0].function.arguments) == {"stand_in": True, "echo": "Hi"}

    def test_output_limit_cuts_the_answer(self, openai_client: openai.OpenAI) -> None:
        answer = openai_client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hello"}], max_completion_tokens=2
        )
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 2


class TestResponses:
    def test_stream_says_what_the_json_answer_says(self, openai_client: openai.OpenAI) -> None:
        answer = openai_client.responses.create(model="gpt-4o", input=SCRIPT)
        events: list[Any] = list(
            openai_client.responses.create(model="gpt-4o", input=SCRIPT, stream=True)
        )
        deltas = [e.delta for e in events if e.type == "response.output_text.delta"]
        assert "".join(deltas) == answer.output_text == ECHO
        assert [e.sequence_number for e in events] == list(range(len(events)))
        assert [e.type for e in events if "delta" not in e.type] == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.reasoning_summary_part.added",
            "response.reasoning_summary_text.done",
            "response.reasoning_summary_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
        usage = answer.usage
        assert usage is not None
        assert events[-1].response.usage == usage
        assert events[-1].response.output_text == ECHO
        assert (usage.input_tokens, usage.input_tokens_details.cached_tokens) == (100, 40)
        assert (usage.output_tokens, usage.output_tokens_details.reasoning_tokens) == (30, 9)

    def test_calls_a_tool(self, openai_client: openai.OpenAI) -> None:
        with openai_client.responses.stream(
            model="m", input="Hi [[stand-in tool_call=look_up]]", tools=[RESPONSES_TOOL]
        ) as stream:
            output = stream.get_final_response().output
        [item] = output
        assert item.type == "function_call"
        assert json.loads(item.arguments)["echo"] == "Hi"

    def test_output_limit_makes_it_incomplete(self, openai_client: openai.OpenAI) -> None:
        events: list[Any] = list(
            openai_client.responses.create(
                model="m", input="Hello", max_output_tokens=2, stream=True
            )
        )
        assert events[-1].type == "response.incomplete"
        assert events[-1].response.incomplete_details.reason == "max_output_tokens"


class TestMessages:
    def test_stream_says_what_the_json_answer_says(
        self, anthropic_client: anthropic.Anthropic
    ) -> None:
        text = "Hello [[stand-in reasoning_tokens=9 output_tokens=30 input_tokens=100"
        text += " cached_tokens=40 cache_write_tokens=20 cache_write_1h_tokens=5]]"
        answer = anthropic_client.messages.create(
            model="claude-sonnet-5-5",
            max_tokens=99,
            messages=[{"role": "user", "content": [{"type": "text", "text": text}]}],
        )
        with anthropic_client.messages.stream(
            model="claude-sonnet-5-5", max_tokens=99, messages=[{"role": "user", "content": text}]
        ) as stream:
            streamed = stream.get_final_message()
        assert [block.type for block in answer.content] == ["thinking", "text"]
        assert streamed.content[0] == answer.content[0]
        for text_block in (answer.content[1], streamed.content[1]):
            assert text_block.type == "text"
            assert text_block.text == ECHO
        for usage in (answer.usage, streamed.usage):
            assert (usage.input_tokens, usage.output_tokens) == (100, 30)
            assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (40, 20)
            assert usage.cache_creation is not None
            assert usage.cache_creation.ephemeral_5m_input_tokens == 15
            assert usage.cache_creation.ephemeral_1h_input_tokens == 5

    def test_events_come_in_the_providers_order(self, provider: StandInProvider) -> None:
        body = {"model": "m", "max_tokens": 9, "stream": True}
        body["messages"] = [{"role": "user", "content": "[[stand-in chunks=2]]"}]
        lines = provider.post("/v1/messages", body).text.splitlines()
        names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
        types = [json.loads(line[6:])["type"] for line in lines if line.startswith("data: ")]
        assert names == types
        assert names == [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]

    def test_calls_a_tool(self, anthropic_client: anthropic.Anthropic) -> None:
        with anthropic_client.messages.stream(
            model="m",
            max_tokens=50,
            messages=[{"role": "user", "content": "Hi [[stand-in tool_call=look_up]]"}],
            tools=[{"name": "look_up", "input_schema": {"type": "object"}}],
        ) as stream:
            message = stream.get_final_message()
        assert message.stop_reason == "tool_use"
        [block] = message.content
        assert block.type == "tool_use"
        assert block.input == {"stand_in": True, "echo": "Hi"}

    def test_goes_on_with_a_thread(self, anthropic_client: anthropic.Anthropic) -> None:
        def say(text: str, thread: Any) -> Any:
            return anthropic_client.beta.messages.create(
                model="m",
                max_tokens=50,
                messages=[{"role": "user", "content": text}],
                thread=thread,
                betas=["message-threads-2026-08-12"],
            )

        begun = say("x" * 400, {"type": "create"})
        goes_on = {"type": "continue", "previous_message_id": begun.id}
        ended = say("y" * 40, goes_on)

        assert begun.usage.input_tokens == 100
        characters = len("x" * 400 + begun.content[0].text + "y" * 40)
        assert ended.usage.input_tokens == -(-characters // 4)
        with pytest.raises(anthropic.NotFoundError):
            say("z", {**goes_on, "previous_message_id": "msg_unknown"})

    def test_counts_tokens_as_it_bills_them(self, anthropic_client: anthropic.Anthropic) -> None:
        count = anthropic_client.messages.count_tokens(
            model="m", messages=[{"role": "user", "content": "Some words"}], system="Be brief"
        )
        billed = anthropic_client.messages.create(
            model="m",
            max_tokens=9,
            messages=[{"role": "user", "content": "Some words"}],
            system="Be brief",
        )
        assert count.input_tokens == billed.usage.input_tokens == 5

    @pytest.mark.parametrize("parameter", ["temperature", "top_p", "top_k"])
    def test_sampling_is_refused_by_version(
        self, provider: StandInProvider, parameter: str
    ) -> None:
        body = {"model": "m", "max_tokens": 9, "messages": [], parameter: 1}
        old = provider.post("/v1/messages", body)
        new = provider.post("/v1/messages", body, **{"anthropic-version": "2026-10-21"})
        assert (old.status_code, new.status_code) == (200, 400)
        assert new.json()["error"]["type"] == "invalid_request_error"


def test_embeddings(openai_client: openai.OpenAI) -> None:
    answer = openai_client.embeddings.create(model="e", input=["one", "two"], dimensions=8)
    plain = openai_client.embeddings.create(
        model="e", input="two", dimensions=8, encoding_format="float"
    )
    assert [len(item.embedding) for item in answer.data] == [8, 8]
    assert answer.data[1].embedding == pytest.approx(plain.data[0].embedding, abs=1e-6)
    assert answer.data[0].embedding != answer.data[1].embedding
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 2


def test_models_in_both_shapes(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    assert "gpt-4o" in [model.id for model in openai_client.models.list()]
    assert "claude-sonnet-5-5" in [model.id for model in anthropic_client.models.list()]


def test_announces_itself(provider: StandInProvider) -> None:
    home = provider.http.get("/")
    assert home.json()["stand_in"] is True
    assert "chunk_delay_ms" in home.json()["directives"]
    assert provider.http.get("/health").json() == {"status": "ok", "stand_in": True}
    unknown = provider.http.get("/elsewhere")
    assert [home.headers["x-provider-stand-in"], unknown.headers["x-provider-stand-in"]] == [
        "true",
        "true",
    ]
    assert unknown.status_code == 404
    assert provider.http.get("/v1/responses").status_code == 405
