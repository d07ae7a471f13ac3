"""Whole conversations, byte for byte; after a change that is meant: `make golden`, and its diff."""

from itertools import product

import pytest

from tests.unit.translation.golden.player import file_of, given, names, play, text_of


@pytest.mark.parametrize("name", names())
async def test_a_conversation_is_as_it_was(name: str) -> None:
    assert file_of(await play(given(name))) == text_of(name)


def test_every_pair_of_formats_has_conversations() -> None:
    formats = ("chat", "messages", "responses")
    found = {(call.client, call.format) for call in map(given, names())}
    assert found == set(product(formats, formats))
