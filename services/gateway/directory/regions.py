"""The region of a provider's address, for prices that differ by region."""

import re
from urllib.parse import urlsplit

from libs.common.schemas.price import FEDRAMP, GLOBAL

# developers.openai.com, data residency, November 2026: us, eu, au, in and jp, and gov for FedRAMP.
# docs.x.ai, regional endpoints, November 2026: us.
_ADDRESS = re.compile(r"(?:([a-z]{2,3}(?:-[a-z]+-\d)?)\.)?api\.(?:openai\.com|x\.ai)")
_NAMES = {None: GLOBAL, "gov": FEDRAMP}


def region_of(base_url: str | None) -> str | None:
    """None for an unknown address; `global` for one without a region."""
    host = "" if base_url is None else urlsplit(base_url).hostname or ""
    match = _ADDRESS.fullmatch(host)
    return None if match is None else _NAMES.get(match[1], match[1])
