"""Which parameters of a client's query string reach a provider; the rest stays here."""

from collections.abc import Set
from urllib.parse import parse_qsl, urlencode

from services.gateway.formats.base import Format

OF_STORED_RESPONSES = frozenset(
    {"after", "include", "include[]", "include_obfuscation", "limit", "order", "starting_after"}
)


def query_of_call(client_format: Format, query_string: bytes) -> str:
    """Includes the question mark; empty if no parameter may pass."""
    if not query_string:
        return ""
    return passed_query(query_string, client_format.query_parameters)


def passed_query(query_string: bytes, names: Set[str]) -> str:
    """Those parameters in their order, encoded anew, so that nothing else is passed along."""
    parameters = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
    passed = [(name, value) for name, value in parameters if name in names]
    return f"?{urlencode(passed)}" if passed else ""
