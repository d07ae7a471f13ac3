"""Relayed answers of a route tell the name that the client asked for."""

import json

import pytest

from services.gateway.upstream.answer_names import frame_renamer, with_model_name

CHUNK = b'data: {"id":"c","model":"gpt-4o-2024","choices":[{"delta":{"content":"a"}}]}\n\n'
START = b'event: message_start\ndata: {"type":"message_start","message":{"model": "claude-1"}}\n\n'
CREATED = b'data: {"type":"response.created","response":{"id":"r","model":"gpt-5-2025"}}\n\n'


def test_a_whole_answer_changes_its_model_alone() -> None:
    body = b'{"id": "c", "choices": [{"model":  1.50}], "model": "gpt-4o-2024", "usage": null}'
    renamed_body = with_model_name(body, "fast")
    assert json.loads(renamed_body) == {**json.loads(body), "model": "fast"}
    # Of the rest, the provider's own bytes.
    assert b'[{"model":  1.50}]' in renamed_body


@pytest.mark.parametrize("body", [b'{"id":"c"}', b"[1]", b"<html>", b""])
def test_a_body_without_a_model_is_unchanged(body: bytes) -> None:
    assert with_model_name(body, "fast") == body


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (CHUNK, CHUNK.replace(b"gpt-4o-2024", b"fast")),
        (START, START.replace(b'"model": "claude-1"', b'"model":"fast"')),
        (CREATED, CREATED.replace(b"gpt-5-2025", b"fast")),
        (b": ping\n\n", b": ping\n\n"),
        (b"data: [DONE]\n\n", b"data: [DONE]\n\n"),
        (b'data: {"model"\n\n', b'data: {"model"\n\n'),
    ],
)
def test_a_frame_changes_its_model_alone(frame: bytes, told: bytes) -> None:
    assert frame_renamer("fast")(frame) == told


def test_models_in_the_text_of_an_answer_stay() -> None:
    rename = frame_renamer("fast")
    rename(CHUNK)
    chunk = json.dumps({"choices": [{"delta": {"content": '{"model":"gpt-4o-2024"}'}}]})
    frame = f"data: {chunk}\n\n".encode()
    assert rename(frame) == frame


def test_a_name_is_written_as_json() -> None:
    assert b'"model":"a\\"\\\\1"' in frame_renamer('a"\\1')(CHUNK)
