"""Images and files inside a request: they travel as base64, which says nothing of their tokens."""

import re

_ATTACHMENT = re.compile(rb"[A-Za-z0-9+/=]{1024,}")
# Each counts as one image.
_TOKENS_PER_ATTACHMENT = 1600


def split_attachments(body: bytes) -> tuple[bytes, int]:
    """The body without its attachments, and the tokens that those are taken to have."""
    if b"base64" not in body:
        return body, 0
    text, attachments = _ATTACHMENT.subn(b"", body)
    return text, attachments * _TOKENS_PER_ATTACHMENT
