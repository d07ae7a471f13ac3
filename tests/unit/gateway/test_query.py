"""Which parameters of a query string reach a provider."""

import pytest

from libs.common.schemas.usage import ClientFormat
from services.gateway.endpoints.query import OF_STORED_RESPONSES, passed_query, query_of_call
from services.gateway.formats import FORMATS


@pytest.mark.parametrize(
    ("client_format", "query", "passed"),
    [
        ("messages", b"", ""),
        ("messages", b"beta=true", "?beta=true"),
        ("messages", b"api-version=1&beta=true&x=%0d%0aevil", "?beta=true"),
        # What is in a value stays in it.
        ("messages", b"beta=a%26b%0d%0a\xff c", "?beta=a%26b%0D%0A%C3%BF+c"),
        ("chat", b"beta=true&api-version=2024", ""),
        ("responses", b"beta=true", ""),
        ("embeddings", b"beta=true", ""),
    ],
)
def test_the_query_of_a_call_is_filtered(
    client_format: ClientFormat, query: bytes, passed: str
) -> None:
    assert query_of_call(FORMATS[client_format], query) == passed


def test_the_query_of_a_stored_response_is_filtered() -> None:
    query = b"include[]=a.b&include%5B%5D=c&limit=2&order=asc&after=m_1&stream=false&key=1"
    assert passed_query(query, OF_STORED_RESPONSES) == (
        "?include%5B%5D=a.b&include%5B%5D=c&limit=2&order=asc&after=m_1"
    )
