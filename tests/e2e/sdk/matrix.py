"""Runs the matrix of calls with the SDKs, as a process of its own.

`python matrix.py` reads `{"openai_url", "anthropic_url", "key", "models": {...}}` from its standard
input and writes what each call gave: `whole` is all that the SDK returned, events included, and
`gist` what of that any provider must give.
"""

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
from pydantic import BaseModel

# A pixel, as every API takes it.
_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
_SYSTEM = "Be brief."
# The stand-in counts letters, and a translation may need more of them for the same request.
_TOKENS = "input_tokens=120 output_tokens=34"
_SAY = f"[[stand-in {_TOKENS}]] How is the weather in Oslo?"
_CACHED = f"[[stand-in {_TOKENS} cached_tokens=20 reasoning_tokens=4]] How is the weather?"
_CALL = f"[[stand-in {_TOKENS} tool_call=weather]] How is the weather in Oslo?"
_STRUCTURE = f"""[[stand-in {_TOKENS} text='{{"city": "Oslo"}}']] Which city?"""
_LIMITED = "[[stand-in input_tokens=120 chunks=50]] Go on."


class City(BaseModel):
    city: str


class Chat:
    """OpenAI's chat completions."""

    def __init__(self, client: openai.OpenAI, model: str) -> None:
        self._create = client.chat.completions
        self._model = model
        function = {"name": "weather", "parameters": _SCHEMA, "strict": True}
        self._tools = [{"type": "function", "function": function}]

    def cases(self) -> dict[str, dict[str, Any]]:
        picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_PNG}"}}
        call = {"name": "weather", "arguments": '{"city": "Oslo"}'}
        turns = [
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
            {"role": "user", "content": _SAY},
        ]
        return {
            "text": self._messages(_SAY),
            "cached": self._messages(_CACHED),
            "image": self._messages([{"type": "text", "text": _SAY}, picture]),
            "tools": {**self._messages(_CALL), "tools": self._tools},
            "tool_result": {"messages": turns, "tools": self._tools},
            "structure": {**self._messages(_STRUCTURE), "response_format": City},
            "limited": {**self._messages(_LIMITED), "max_completion_tokens": 16},
        }

    def _messages(self, content: Any) -> dict[str, Any]:
        return {
            "messages": [
                {"role": "system", "content": _SYSTEM},
                {"role": "user", "content": content},
            ]
        }

    def whole(self, **fields: Any) -> tuple[list[Any], Any]:
        answer = self._create.parse(**self._limits(fields))
        return [answer], answer

    def stream(self, **fields: Any) -> tuple[list[Any], Any]:
        options: Any = {"include_usage": True}
        with self._create.stream(**self._limits(fields), stream_options=options) as stream:
            return list(stream), stream.get_final_completion()

    def _limits(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {"model": self._model, "max_completion_tokens": 200, **fields}

    def gist(self, answer: Any) -> dict[str, Any]:
        choice, usage = answer.choices[0], answer.usage
        calls = choice.message.tool_calls or []
        return {
            "text": choice.message.content or "",
            "tools": [[c.function.name, json.loads(c.function.arguments)] for c in calls],
            "stop": choice.finish_reason,
            "tokens": [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens],
            "parsed": _fields_of(choice.message.parsed),
        }


class Responses:
    """OpenAI's responses."""

    def __init__(self, client: openai.OpenAI, model: str) -> None:
        self._create = client.responses
        self._model = model
        self._tools = [
            {"type": "function", "name": "weather", "parameters": _SCHEMA, "strict": True}
        ]

    def cases(self) -> dict[str, dict[str, Any]]:
        picture = {
            "type": "input_image",
            "image_url": f"data:image/png;base64,{_PNG}",
            "detail": "auto",
        }
        items = [{"role": "user", "content": [{"type": "input_text", "text": _SAY}, picture]}]
        turns = [
            {"role": "user", "content": "Weather?"},
            {
                "type": "function_call",
                "call_id": "call_1",
                "name": "weather",
                "arguments": '{"city": "Oslo"}',
            },
            {"type": "function_call_output", "call_id": "call_1", "output": "Rain."},
            {"role": "user", "content": _SAY},
        ]
        return {
            "text": {"input": _SAY},
            "cached": {"input": _CACHED},
            "image": {"input": items},
            "tools": {"input": _CALL, "tools": self._tools},
            "tool_result": {"input": turns, "tools": self._tools},
            "structure": {"input": _STRUCTURE, "text_format": City},
            "limited": {"input": _LIMITED, "max_output_tokens": 16},
        }

    def whole(self, **fields: Any) -> tuple[list[Any], Any]:
        answer = self._create.parse(**self._limits(fields))
        return [answer], answer

    def stream(self, **fields: Any) -> tuple[list[Any], Any]:
        final = None
        events = []
        with self._create.stream(**self._limits(fields)) as stream:
            for event in stream:
                events.append(event)
                if event.type in ("response.completed", "response.incomplete"):
                    final = event.response
        return events, final

    def _limits(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {
            "model": self._model,
            "instructions": _SYSTEM,
            "max_output_tokens": 200,
            "store": False,
            **fields,
        }

    def gist(self, answer: Any) -> dict[str, Any]:
        calls = [item for item in answer.output if item.type == "function_call"]
        usage = answer.usage
        return {
            "text": answer.output_text,
            "tools": [[call.name, json.loads(call.arguments)] for call in calls],
            "stop": answer.status,
            "tokens": [usage.input_tokens, usage.output_tokens, usage.total_tokens],
            "parsed": _fields_of(getattr(answer, "output_parsed", None)),
        }


class Messages:
    """Anthropic's messages."""

    def __init__(self, client: anthropic.Anthropic, model: str) -> None:
        self._create = client.messages
        self._model = model
        self._tools = [{"name": "weather", "input_schema": _SCHEMA}]

    def cases(self) -> dict[str, dict[str, Any]]:
        source = {"type": "base64", "media_type": "image/png", "data": _PNG}
        picture = {"type": "image", "source": source}
        use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}}
        turns = [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": [use]},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "Rain."},
                    {"type": "text", "text": _SAY},
                ],
            },
        ]
        return {
            "text": self._messages(_SAY),
            "cached": self._messages(_CACHED),
            "image": self._messages([{"type": "text", "text": _SAY}, picture]),
            "tools": {**self._messages(_CALL), "tools": self._tools},
            "tool_result": {"messages": turns, "tools": self._tools},
            "structure": {**self._messages(_STRUCTURE), "output_format": City},
            "limited": {**self._messages(_LIMITED), "max_tokens": 16},
        }

    def _messages(self, content: Any) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": content}]}

    def whole(self, **fields: Any) -> tuple[list[Any], Any]:
        call = self._create.parse if "output_format" in fields else self._create.create
        answer = call(**self._limits(fields))
        return [answer], answer

    def stream(self, **fields: Any) -> tuple[list[Any], Any]:
        with self._create.stream(**self._limits(fields)) as stream:
            return list(stream), stream.get_final_message()

    def _limits(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {"model": self._model, "system": _SYSTEM, "max_tokens": 200, **fields}

    def gist(self, answer: Any) -> dict[str, Any]:
        usage = answer.usage
        cache_read = usage.cache_read_input_tokens or 0
        cache_written = usage.cache_creation_input_tokens or 0
        tokens = [usage.input_tokens + cache_read + cache_written, usage.output_tokens]
        return {
            "text": "".join(block.text for block in answer.content if block.type == "text"),
            "tools": [[b.name, b.input] for b in answer.content if b.type == "tool_use"],
            "stop": answer.stop_reason,
            "tokens": [*tokens, sum(tokens)],
            "parsed": _fields_of(getattr(answer, "parsed_output", None)),
        }


def results(config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    openai_client = openai.OpenAI(
        base_url=config["openai_url"], api_key=config["key"], max_retries=0, timeout=60
    )
    anthropic_client = anthropic.Anthropic(
        base_url=config["anthropic_url"], auth_token=config["key"], max_retries=0, timeout=60
    )
    models = config["models"]
    formats = (
        Chat(openai_client, models["chat"]),
        Responses(openai_client, models["responses"]),
        Messages(anthropic_client, models["messages"]),
    )
    for client_format in formats:
        for name, fields in client_format.cases().items():
            for way in (client_format.whole, client_format.stream):
                case = f"{type(client_format).__name__.lower()} {name} {way.__name__}"
                yield case, _result(client_format.gist, way, fields)


def _result(
    gist: Callable[[Any], dict[str, Any]],
    way: Callable[..., tuple[list[Any], Any]],
    fields: dict[str, Any],
) -> dict[str, Any]:
    try:
        parts, final = way(**fields)
    except (openai.OpenAIError, anthropic.AnthropicError) as error:
        return {"error": type(error).__name__, "message": str(error)}
    return {"whole": [part.model_dump(mode="json") for part in parts], "gist": gist(final)}


def _fields_of(structure: Any) -> Any:
    return structure.model_dump() if isinstance(structure, City) else None


if __name__ == "__main__":
    # The SDKs' generic types are dumped as what they hold, which pydantic remarks on.
    warnings.simplefilter("ignore")
    json.dump(dict(results(json.load(sys.stdin))), sys.stdout)
