"""Every way to write a path of the API leads to the one that is routed, and to no other place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.endpoints.paths import canonical, not_served

PATHS = ("/v1/chat/completions", "/v1/messages/count_tokens", "/v1/models/a/b", "/v1/responses/r")


@given(
    path=st.sampled_from(PATHS),
    slashes=st.integers(1, 3),
    bases=st.integers(0, 3),
    end=st.sampled_from(["", "/", "//"]),
)
def test_spellings_of_a_path_become_the_canonical_one(
    path: str, slashes: int, bases: int, end: str
) -> None:
    base = ("/" * slashes + "v1") * bases
    assert canonical(base + "/" * slashes + path.removeprefix("/v1/") + end) == path


@given(st.text("/v1modelsh.", max_size=12))
def test_canonical_is_idempotent_and_stays_below_v1(path: str) -> None:
    found = canonical(path)
    assert canonical(found) == found
    if path.startswith("/v1/"):
        assert found.startswith("/v1/")


@pytest.mark.parametrize("path", ["/", "/health", "/metrics", "/v2/models", "/modelsx", "/v1x/a"])
def test_other_paths_are_unchanged(path: str) -> None:
    assert canonical(path) == path


def test_canonical_paths_stay_inside_the_api() -> None:
    assert canonical("/v1/metrics") == "/v1/metrics"
    assert canonical("/v1/v1/health/") == "/v1/health"


def test_an_unserved_path_is_answered_with_the_served_ones() -> None:
    message = not_served("/v1/files")
    assert "'/v1/files'" in message
    assert {"/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/models"} <= set(
        message.replace(",", " ").split()
    )
    assert len(not_served("/v1/" + "x" * 60_000)) < 500
