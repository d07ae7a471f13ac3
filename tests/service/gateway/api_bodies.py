"""Bodies of OpenAI's and Anthropic's APIs: any that their SDKs' types allow, and any near them."""

import copy
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, NotRequired, Required

from anthropic.types.beta.message_create_params import MessageCreateParamsNonStreaming
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.embedding_create_params import EmbeddingCreateParams
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from typing_extensions import get_type_hints, is_typeddict

TYPES: dict[str, Any] = {
    "chat": CompletionCreateParamsNonStreaming,
    "responses": ResponseCreateParamsNonStreaming,
    "messages": MessageCreateParamsNonStreaming,
    "embeddings": EmbeddingCreateParams,
}
_TURNS = {"chat": "messages", "messages": "messages", "responses": "input", "embeddings": "input"}
_QUESTION = {"role": "user", "content": "How is the weather?"}
_DEEPEST = 7
_LONGEST = 3
_texts = st.one_of(
    st.sampled_from(["", "x", "call_1", "weather", '{"city":"Oslo"}', "https://a.example/b.png"]),
    st.sampled_from(["data:image/png;base64,iVBORw0KGgo=", "JVBERi0xLjcK", "data:,x", "\x00"]),
    st.text(max_size=8),
)
_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from([0, -1, 2**31, 2**70, 1e300, 0.5, "\ud800"]),
        _texts,
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(_texts, inner, max_size=2)
    ),
    max_leaves=4,
)


@st.composite
def bodies(draw: st.DrawFn, name: str, model: str) -> dict[str, Any]:
    """By the types, then up to two of its values may be any others; half begin with a question."""
    body: dict[str, Any] = draw(_of_type(TYPES[name], 0))
    turns = body.get(_TURNS[name], [])
    if name != "embeddings" and isinstance(turns, list) and draw(st.booleans()):
        body[_TURNS[name]] = [_QUESTION, *turns]
    for _ in range(draw(st.integers(0, 2))):
        body = _changed(draw, body)
    for field in ("background", "stream_options"):
        body.pop(field, None)
    body["model"] = model
    if name != "embeddings":
        body["stream"] = draw(st.booleans())
    return body


def _of_type(annotation: Any, depth: int) -> st.SearchStrategy[Any]:
    origin = typing.get_origin(annotation)
    if origin in (Required, NotRequired, typing.Annotated):
        return _of_type(typing.get_args(annotation)[0], depth)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([_later(kind, depth) for kind in typing.get_args(annotation)])
    if origin is Literal:
        return st.sampled_from(typing.get_args(annotation))
    if is_typeddict(annotation):
        return _members(annotation, depth)
    if origin is dict or annotation in (object, Any, dict):
        return st.dictionaries(_texts, _values, max_size=2)
    if origin is not None:
        # Lists, tuples, iterables and the SDKs' own kind of a sequence.
        inner = _of_type(typing.get_args(annotation)[0], depth + 1)
        return st.lists(inner, max_size=_LONGEST if depth < _DEEPEST else 0)
    strategies: dict[Any, st.SearchStrategy[Any]] = {
        str: _texts,
        bool: st.booleans(),
        int: st.integers(0, 5_000),
        float: st.sampled_from([0, 0.5, 1, 2]),
    }
    return strategies.get(annotation, st.none())


def _later(annotation: Any, depth: int) -> st.SearchStrategy[Any]:
    """Made when it is drawn, for types that hold themselves."""
    return st.deferred(lambda: _of_type(annotation, depth))


@st.composite
def _members(draw: st.DrawFn, annotation: Any, depth: int) -> dict[str, Any]:
    """Those that are required, and a few others."""
    hints = get_type_hints(annotation, include_extras=True)
    required = [name for name, hint in hints.items() if _is_required(hint)]
    others = sorted(hints.keys() - set(required))
    chosen = draw(st.lists(st.sampled_from(others), max_size=3)) if others else []
    names = required + (chosen if depth < _DEEPEST else [])
    return {name: draw(_of_type(hints[name], depth + 1)) for name in names}


def _is_required(hint: Any) -> bool:
    origin: Any = typing.get_origin(hint)
    return origin is Required


def _changed(draw: st.DrawFn, body: dict[str, Any]) -> dict[str, Any]:
    """With one value, wherever it is, replaced, removed or said twice."""
    changed = copy.deepcopy(body)
    places = list(_places(changed))
    if not places:
        return changed
    holder, key = draw(st.sampled_from(places))
    change = draw(st.sampled_from(["replace", "remove", "repeat"]))
    if change == "replace":
        holder[key] = draw(_values)
    elif change == "remove":
        del holder[key]
    elif isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    return changed


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = value if isinstance(value, dict) else range(len(value))
    for key in list(keys):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])
