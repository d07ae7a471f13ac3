"""Where the client's key is found."""

import pytest

from libs.common.errors import Unauthenticated
from services.gateway.calls.credentials import secret_of
from services.gateway.calls.headers import Headers


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer sk-1")],
        [(b"authorization", b"bearer  sk-1 ")],
        [(b"x-api-key", b"sk-1")],
        [(b"api-key", b" sk-1")],
        [(b"authorization", b"Bearer sk-1"), (b"x-api-key", b"sk-2"), (b"api-key", b"sk-3")],
        [(b"x-api-key", b"sk-1"), (b"api-key", b"sk-3")],
        [(b"authorization", b"Basic dTpw"), (b"x-api-key", b"sk-1")],
        [(b"authorization", b"Bearer "), (b"x-api-key", b"sk-1")],
        [(b"x-api-key", b" "), (b"api-key", b"sk-1")],
        [(b"host", b"x"), (b"x-api-key", b"sk-1")],
    ],
    ids=range(10),
)
def test_the_key_is_found(headers: Headers) -> None:
    assert secret_of(headers) == "sk-1"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer  ")],
        [(b"authorization", b"sk-1")],
        [(b"authorization", b"Basic dTpw")],
        [(b"x-api-key", b"")],
        [(b"cookie", b"x-api-key=sk-1")],
    ],
    ids=range(8),
)
def test_a_missing_key_is_answered_with_how_to_send_one(headers: Headers) -> None:
    with pytest.raises(Unauthenticated, match="Bearer"):
        secret_of(headers)


def test_any_bytes_are_accepted_as_a_secret() -> None:
    assert secret_of([(b"x-api-key", b"\xff\xfe")]) == "\xff\xfe"
