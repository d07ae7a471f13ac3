"""Reads a chat client's request."""

from collections.abc import Mapping
from typing import Any

import msgspec

from services.gateway.upstream.translation.chat import wire
from services.gateway.upstream.translation.chat.content_reader import is_object
from services.gateway.upstream.translation.chat.tool_reader import (
    read_choice,
    read_legacy_choice,
    read_legacy_tools,
    read_search,
    read_tools,
)
from services.gateway.upstream.translation.chat.turn_reader import read_turns
from services.gateway.upstream.translation.conversation import (
    NO_LABELS,
    NO_SAMPLING,
    NO_WISH,
    Effort,
    Labels,
    OutputLimits,
    Request,
    Sampling,
    Shape,
    Wish,
)
from services.gateway.upstream.translation.refusals import decode_at, invalid
from services.gateway.upstream.translation.tools import Tool, ToolChoice

_EFFORTS: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_VERBOSITIES = ("low", "medium", "high")
_SHAPES = ("text", "json_object", "json_schema")
# Read elsewhere, or of no concern to a provider; other unread fields go to `extra`.
_SET_ASIDE = frozenset({"model", "messages", "tools", "functions", "tool_choice", "function_call"})
# A format has so many fields, and a call so few of them: each group is read where there is any.
_TOOLS = (_SET_ASIDE - {"model", "messages"}) | {"web_search_options"}
_LIMITS = frozenset({"max_tokens", "max_completion_tokens", "stop", "n"})
_SAMPLING = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
    }
)
_OPTIONS = frozenset(
    {
        "parallel_tool_calls",
        "reasoning_effort",
        "response_format",
        "verbosity",
        "stream_options",
        "prompt_cache_options",
    }
)
_LABELS = frozenset(
    {
        "metadata",
        "user",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "store",
        "service_tier",
    }
)

_text = msgspec.json.Decoder(str)
_number = msgspec.json.Decoder(float)
_integer = msgspec.json.Decoder(int)
_truth = msgspec.json.Decoder(bool)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_labels = msgspec.json.Decoder(dict[str, str])
_stop = msgspec.json.Decoder(str | list[str])
_texts = msgspec.json.Decoder(list[str])
_shape = msgspec.json.Decoder(wire.ResponseFormat)
_stream_options = msgspec.json.Decoder(wire.StreamOptions)

_NO_TOOLS: tuple[tuple[Tool, ...], ToolChoice | None, bool] = ((), None, False)
_NO_LIMITS = OutputLimits()


def read_request(fields: Mapping[str, msgspec.Raw]) -> Request:
    """From a body by top-level names. Raises InvalidRequest, which names the path."""
    body = _Body(fields)
    turns, unknown = read_turns(body.required("messages"))
    tools, choice, is_legacy = _read_tools(body) if body.has(_TOOLS) else _NO_TOOLS
    options = _read_options(body) if body.has(_OPTIONS) else _NO_OPTIONS
    return Request(
        turns=turns,
        tools=tools,
        choice=choice,
        # The first form of tools has a place for one call.
        parallel=False if is_legacy and tools else options.parallel,
        limits=_read_limits(body) if body.has(_LIMITS) else _NO_LIMITS,
        sampling=_read_sampling(body) if body.has(_SAMPLING) else NO_SAMPLING,
        thinking=options.thinking,
        shape=options.shape,
        verbosity=options.verbosity,
        labels=_read_labels(body) if body.has(_LABELS) else NO_LABELS,
        stream=bool(body.read("stream", _truth)),
        wants_usage=options.wants_usage,
        has_legacy_functions=is_legacy,
        extra=body.rest(unknown),
        hints=options.hints,
    )


class _Options(msgspec.Struct, frozen=True, kw_only=True):
    parallel: bool | None = None
    thinking: Wish = NO_WISH
    shape: Shape | None = None
    verbosity: str | None = None
    wants_usage: bool = False
    hints: dict[str, msgspec.Raw] = {}


class _Body:
    """The fields that are not null; those that were asked for are not among the rest."""

    def __init__(self, fields: Mapping[str, msgspec.Raw]) -> None:
        self._fields = {name: raw for name, raw in fields.items() if raw != wire.NULL}
        self._rest = self._fields.copy()

    def has(self, names: frozenset[str]) -> bool:
        return not names.isdisjoint(self._fields)

    def raw(self, name: str) -> msgspec.Raw | None:
        self._rest.pop(name, None)
        return self._fields.get(name)

    def required(self, name: str) -> msgspec.Raw:
        raw = self.raw(name)
        if raw is None:
            raise invalid(name, "this field is missing, or null")
        return raw

    def read(self, name: str, decoder: msgspec.json.Decoder[Any]) -> Any:
        if name not in self._fields:
            # As most are of which a format has so many.
            return None
        self._rest.pop(name, None)
        return decode_at(decoder, self._fields[name], name)

    def one_of(self, name: str, words: tuple[str, ...]) -> Any:
        word = self.read(name, _text)
        if word is not None and word not in words:
            raise invalid(name, f"must be one of {', '.join(words)}, not {word!r}")
        return word

    def at_least(self, name: str, least: int) -> int | None:
        number: int | None = self.read(name, _integer)
        if number is not None and number < least:
            raise invalid(name, f"must be at least {least}")
        return number

    def rest(self, unknown: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
        """With those `unknown`, and without what says only that an answer is text."""
        rest = self._rest
        for name in _SET_ASIDE & rest.keys():
            del rest[name]
        modalities = rest.get("modalities")
        if modalities is not None and decode_at(_texts, modalities, "modalities") == ["text"]:
            del rest["modalities"]
        return rest | unknown if unknown else rest


def _read_options(body: _Body) -> _Options:
    stream_options = body.read("stream_options", _stream_options)
    caching = body.raw("prompt_cache_options")
    return _Options(
        parallel=body.read("parallel_tool_calls", _truth),
        thinking=Wish(effort=body.one_of("reasoning_effort", _EFFORTS)),
        shape=_read_shape(body),
        verbosity=body.one_of("verbosity", _VERBOSITIES),
        wants_usage=stream_options is not None and bool(stream_options.include_usage),
        hints={} if caching is None else {"prompt_cache_options": caching},
    )


_NO_OPTIONS = _Options()


def _read_tools(body: _Body) -> tuple[tuple[Tool, ...], ToolChoice | None, bool]:
    tools: tuple[Tool, ...] = ()
    choice = None
    if (raw := body.raw("tools")) is not None:
        tools = read_tools(raw)
    is_legacy = not tools and (raw := body.raw("functions")) is not None
    if is_legacy and raw is not None:
        tools = read_legacy_tools(raw)
    elif body.raw("functions") is not None:
        raise invalid("functions", "cannot be combined with `tools`")
    if (raw := body.raw("tool_choice")) is not None:
        choice = read_choice(raw)
    elif (raw := body.raw("function_call")) is not None:
        choice = read_legacy_choice(raw)
    if (raw := body.raw("web_search_options")) is not None:
        tools = (*tools, read_search(raw))
    return tools, choice, is_legacy


def _read_limits(body: _Body) -> OutputLimits:
    older, newer = body.at_least("max_tokens", 0), body.at_least("max_completion_tokens", 0)
    stop = body.read("stop", _stop)
    answers = body.at_least("n", 1)
    return OutputLimits(
        output_tokens=older if newer is None else newer,
        stop=(stop,) if type(stop) is str else tuple(stop or ()),
        answers=1 if answers is None else answers,
    )


def _read_sampling(body: _Body) -> Sampling:
    bias = body.read("logit_bias", _object)
    return Sampling(
        temperature=body.read("temperature", _number),
        top_p=body.read("top_p", _number),
        top_k=body.read("top_k", _integer),
        seed=body.read("seed", _integer),
        # 0, an empty object and false are what a model does unasked.
        presence=body.read("presence_penalty", _number) or None,
        frequency=body.read("frequency_penalty", _number) or None,
        logit_bias=body.raw("logit_bias") if bias else None,
        wants_logprobs=bool(body.read("logprobs", _truth)),
        top_logprobs=body.at_least("top_logprobs", 0) or None,
    )


def _read_shape(body: _Body) -> Shape | None:
    shape = body.read("response_format", _shape)
    if shape is None:
        return None
    if shape.type not in _SHAPES:
        raise invalid("response_format.type", f"must be one of {', '.join(_SHAPES)}")
    if shape.type == "text":
        return None
    if shape.type == "json_object":
        return Shape(kind="json_object")
    json_schema = shape.json_schema
    if json_schema is None:
        raise invalid("response_format.json_schema", "this field is missing")
    schema = None if json_schema.schema in (wire.ABSENT, wire.NULL) else json_schema.schema
    if schema is not None and not is_object(schema):
        raise invalid("response_format.json_schema.schema", "expected an object, a JSON schema")
    return Shape(
        kind="json_schema",
        name=json_schema.name,
        description=json_schema.description,
        schema=schema,
        strict=json_schema.strict,
    )


def _read_labels(body: _Body) -> Labels:
    body.read("metadata", _labels)
    return Labels(
        user=body.read("user", _text),
        safety_id=body.read("safety_identifier", _text),
        metadata=body.raw("metadata"),
        cache_key=body.read("prompt_cache_key", _text),
        cache_retention=body.read("prompt_cache_retention", _text),
        keeps=body.read("store", _truth),
        tier=body.read("service_tier", _text),
    )
