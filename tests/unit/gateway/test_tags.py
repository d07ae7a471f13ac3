"""Tags of a call, from `x-gateway-tags` and from the request's `metadata`."""

import json
from typing import Any

import msgspec
import pytest

from libs.common.domain.entries import accept
from libs.common.domain.tags import MAX_TAG_CHARS, MAX_TAGS, MAX_TAGS_OF_EACH, kept_tags
from libs.common.errors import InvalidRequest
from libs.common.schemas.usage import ClientFormat, UsageEvent
from services.gateway.calls.tags import tags_of, with_metadata
from services.gateway.formats import FORMATS
from tests.unit.builders import NOW, event

CALL_ID = "0194f5d2-8f6a-7000-8000-000000000001"


def header_tags(*values: bytes) -> tuple[str, ...]:
    others = [(b"host", b"x"), (b"authorization", b"Bearer team:no")]
    return tags_of(others + [(b"x-gateway-tags", value) for value in values])


def kept(metadata: Any, tags: tuple[str, ...] = (), name: ClientFormat = "chat") -> tuple[str, ...]:
    raw = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    return with_metadata(tags, msgspec.Raw(raw), FORMATS[name])


@pytest.mark.parametrize(
    ("values", "tags"),
    [
        ((), ()),
        ((b"",), ()),
        ((b" , ,",), ()),
        ((b"beta",), ("beta",)),
        ((b"team:search, beta ,env:prod",), ("team:search", "beta", "env:prod")),
        ((b"team:search", b"beta"), ("team:search", "beta")),
        ((b"team:a,team:a",), ("team:a",)),
        ((b"build:git:1f2e/x@y+z=1",), ("build:git:1f2e/x@y+z=1",)),
        ((b"n" * 64 + b":" + b"v" * 63,), ("n" * 64 + ":" + "v" * 63,)),
        ((b",".join(b"t%d" % n for n in range(16)),), tuple(f"t{n}" for n in range(16))),
    ],
)
def test_tags_of_the_header(values: tuple[bytes, ...], tags: tuple[str, ...]) -> None:
    assert header_tags(*values) == tags


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((b",".join(b"t%d" % n for n in range(17)),), "has 17 tags, and may have 16"),
        ((b"a", b",".join(b"t%d" % n for n in range(16))), "has 17 tags"),
        ((b"ok,two words",), "wrong at tag 2"),
        ((b":v",), "wrong at tag 1"),
        ((b"team:",), "wrong at tag 1"),
        ((b"$where:1",), "wrong at tag 1"),
        ((b"caf\xc3\xa9",), "wrong at tag 1"),
        ((b"a\x00b",), "wrong at tag 1"),
        ((b"n" * 65,), "wrong at tag 1"),
        ((b"n:" + b"v" * 127,), "wrong at tag 1"),
        ((b"team:a,team:b",), "has the name 'team' twice"),
        ((b"team,team:b",), "has the name 'team' twice"),
    ],
)
def test_an_invalid_header_is_refused(values: tuple[bytes, ...], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as refused:
        header_tags(*values)

    assert (refused.value.status, refused.value.param) == (400, "x-gateway-tags")


@pytest.mark.parametrize(
    ("metadata", "tags"),
    [
        (None, ()),
        ({}, ()),
        ([1], ()),
        ("text", ()),
        (b"{broken", ()),
        ({"team": "Suche & Co", "trace": "a:b"}, ("team:Suche & Co", "trace:a:b")),
        ({"user_id": "u1"}, ("user_id:u1",)),
        ({"flag": ""}, ("flag",)),
        ({"n": 1, "deep": {"x": 1}, "none": None, "kept": "x"}, ("kept:x",)),
        ({"a:b": "x", "": "x", " a": "x", "line": "x\ny", "kept": "x"}, ("kept:x",)),
        ({"long": "v" * MAX_TAG_CHARS, "n" * 65: "x", "kept": "x"}, ("kept:x",)),
        (b'{"lone":"\\ud800","kept":"x"}', ()),
        ({"$where": "1"}, ("$where:1",)),
        ({f"n{n}": "v" for n in range(40)}, tuple(f"n{n}:v" for n in range(MAX_TAGS_OF_EACH))),
        ({"a": "x", "big": "v" * 70_000}, ()),
    ],
)
def test_metadata_gives_what_fits(metadata: Any, tags: tuple[str, ...]) -> None:
    assert kept(metadata) == tags


def test_the_header_wins_over_metadata() -> None:
    assert kept({"team": "b", "env": "x"}, ("team:a",)) == ("team:a", "env:x")


def test_full_sets_of_both_fit() -> None:
    header = tuple(f"h{n}" for n in range(MAX_TAGS_OF_EACH))
    both = kept({f"m{n}": "v" for n in range(40)}, header)
    assert len(both) == MAX_TAGS
    assert kept_tags(both) == both


def test_the_end_user_of_messages_is_not_a_tag() -> None:
    assert kept({"user_id": "u1", "team": "a"}, name="messages") == ("team:a",)


def test_an_event_without_tags_is_read_as_ever() -> None:
    before = msgspec.json.encode(event(CALL_ID))
    assert b"tags" not in before
    assert msgspec.json.decode(before, type=UsageEvent).tags == ()


def test_a_posted_event_keeps_what_are_tags() -> None:
    sent = event(CALL_ID, tags=("team:a", "", "team:b", "x" * 200, *(f"t{n}" for n in range(99))))
    accepted = accept(sent, NOW)
    assert isinstance(accepted, UsageEvent)
    assert accepted.tags == ("team:a", *(f"t{n}" for n in range(MAX_TAGS - 1)))
