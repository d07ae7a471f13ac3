"""The types of the newest SDKs' requests, and all their fields."""

import collections.abc
import typing
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, NamedTuple

import anthropic.types.beta.message_count_tokens_params as beta_count
import anthropic.types.beta.message_create_params as beta_messages
import anthropic.types.message_count_tokens_params as count
import anthropic.types.message_create_params as messages
import openai.types.beta.response_create_params as beta_responses
import openai.types.chat.completion_create_params as chat
import openai.types.embedding_create_params as embeddings
import openai.types.responses.input_token_count_params as input_tokens
import openai.types.responses.response_create_params as responses
from typing_extensions import get_type_hints, is_typeddict

from libs.common.schemas.usage import ClientFormat

REQUESTS: tuple[tuple[ClientFormat, type], ...] = (
    ("chat", chat.CompletionCreateParamsStreaming),
    ("messages", messages.MessageCreateParamsStreaming),
    ("messages", count.MessageCountTokensParams),
    ("messages", beta_messages.MessageCreateParamsStreaming),
    ("messages", beta_count.MessageCountTokensParams),
    ("responses", responses.ResponseCreateParamsStreaming),
    ("responses", input_tokens.InputTokenCountParams),
    ("responses", beta_responses.ResponseCreateParamsStreaming),
    ("embeddings", embeddings.EmbeddingCreateParams),
)
_LISTS = (list, tuple, collections.abc.Iterable, collections.abc.Sequence)


class Field(NamedTuple):
    """`path` is of members; one that is a list ends in `[]`."""

    path: tuple[str, ...]
    annotation: Any

    @property
    def holder(self) -> str:
        return self.path[-2].removesuffix("[]") if len(self.path) > 1 else ""

    @property
    def name(self) -> str:
        return self.path[-1].removesuffix("[]")

    def __str__(self) -> str:
        return ".".join(self.path)


def fields_of(
    annotation: Any, path: tuple[str, ...] = (), seen: frozenset[Any] = frozenset()
) -> Iterator[Field]:
    """All fields below, in whatever union, list or alias."""
    if is_typeddict(annotation):
        if annotation in seen:
            return
        for name, inner in _hints(annotation).items():
            here = (*path, name)
            yield Field(here, inner)
            yield from fields_of(inner, here, seen | {annotation})
        return
    if typing.get_origin(annotation) is Literal:
        return
    for inner in parts_of(annotation):
        is_list = path and not path[-1].endswith("[]") and _is_list(annotation)
        yield from fields_of(inner, (*path[:-1], f"{path[-1]}[]") if is_list else path, seen)


@cache
def _hints(annotation: Any) -> dict[str, Any]:
    return get_type_hints(annotation)


def parts_of(annotation: Any) -> list[Any]:
    return [part for part in typing.get_args(annotation) if part is not Ellipsis]


def _is_list(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    return origin in _LISTS or getattr(origin, "__name__", "") == "SequenceNotStr"


def body_with(field: Field) -> Any:
    """The least body that has the field."""
    value: Any = ["the_id"] if field.path[-1].endswith("s") else "the_id"
    for name in reversed(field.path):
        value = {name.removesuffix("[]"): [value] if name.endswith("[]") else value}
    return value
