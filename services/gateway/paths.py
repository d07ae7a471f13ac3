"""Which path of the API a request means, whatever its base URL has too much or too little.

Clients put their own paths behind a base URL, and people write that with `/v1`, without it, or
with a slash at its end.
"""

from services.gateway.formats import FORMATS

_API_NAMES = {"models", "budget"} | {row.path.split("/")[2] for row in FORMATS.values()}
BASE_URL_ADVICE = (
    "Set the client's base URL to this gateway's address, for OpenAI's SDKs and what is made like "
    "them with /v1 at its end, for Anthropic's without."
)


def canonical(path: str) -> str:
    """`//v1/chat/completions`, `/chat/completions/`, `/v1/v1/models`: as the routes have them."""
    rest = path.strip("/")
    below_v1 = False
    while rest == "v1" or rest.startswith("v1/"):
        below_v1, rest = True, rest[2:].lstrip("/")
    if below_v1 or rest.partition("/")[0] in _API_NAMES:
        return f"/v1/{rest}"
    return f"/{rest}"
