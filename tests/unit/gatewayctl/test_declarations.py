"""Files of declared state: what is wrong in one is named with its line."""

from decimal import Decimal

import pytest

from gatewayctl.documents import MAX_BYTES, parse_document
from gatewayctl.errors import Misused
from gatewayctl.state.declaration import read_declaration


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("accounts:\n  - user_id: a\n   name: b\n", ":3: is not YAML"),
        ("accounts:\n  - {user_id: a}\n  - {user_id: a}\n", ":3: the account 'a' is declared"),
        ("accounts:\n  - user_id: a\n    budgte: 1\n", ":3: there is no field 'budgte'"),
        ("accounts:\n  - name: b\n", ":2: user_id is required"),
        ("accounts:\n  - {user_id: 5}\n", ":2: user_id must be a text"),
        ("accounts: {}\n", ":1: accounts must be a list"),
        ("accounts: [5]\n", ":1: must be a mapping"),
        ("\nguardrails: []\n", ":2: 'guardrails' is not one of"),
        ("accounts:\n  - {user_id: a, user_id: b}\n", ":2: has the key 'user_id' twice"),
        ("version: 2\n", "version must be 1"),
        ("- a\n", ":1: is not a mapping"),
        ("accounts:\n  - {user_id: a, name: !!python/object:os.system {}}\n", ":2"),
        (
            "routes:\n  - model: m\n    deployments:\n      - model: openai/x\n        wight: 1\n",
            ":5: there is no field 'wight'",
        ),
        ("a: &a [x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n", "is not one of"),
        ("a: &a [*a]\n", "levels"),
    ],
)  # fmt: skip
def test_problems_of_a_file_are_named_with_their_lines(text: str, said: str) -> None:
    with pytest.raises(Misused) as raised:
        read_declaration(parse_document(text.encode(), "gateway.yaml"))
    assert said in "\n".join((raised.value.message, *raised.value.details))


def test_every_problem_is_named_at_once() -> None:
    text = "accounts:\n  - {name: a}\n  - {user_id: b, x: 1}\nz: 1\n"
    with pytest.raises(Misused) as raised:
        read_declaration(parse_document(text.encode(), "f"))
    assert len(raised.value.details) == 3


@pytest.mark.parametrize("raw", [b"\xff\xfe\xff", b"a" * (MAX_BYTES + 1), b"a: \x00"])
def test_non_text_or_too_large_input_is_refused(raw: bytes) -> None:
    with pytest.raises(Misused):
        parse_document(raw, "f")


def test_numbers_keep_every_digit_and_dates_stay_text() -> None:
    text = "a: 100.000000001\nb: 1_000\nc: 010\nd: 2026-12-01\ne: yes\nf: ~\ng: -3\nh: 0x1f\n"
    assert parse_document(text.encode(), "f").content == {
        "a": Decimal("100.000000001"),
        "b": 1000,
        "c": 8,
        "d": "2026-12-01",
        "e": True,
        "f": None,
        "g": -3,
        "h": 31,
    }


def test_merged_mappings_lie_beneath_their_own() -> None:
    text = "base: &base {a: 1, b: 2}\nown: {<<: *base, b: 3}\n"
    assert parse_document(text.encode(), "f").content["own"] == {"a": 1, "b": 3}


def test_an_empty_file_declares_nothing() -> None:
    declaration = read_declaration(parse_document(b"", "f"))
    assert (declaration.objects, declaration.sections) == ((), frozenset())
