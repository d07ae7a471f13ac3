"""Images, recordings and files in a request: base64 says nothing of their tokens."""

import re

_ATTACHMENT = re.compile(rb"[A-Za-z0-9+/=]{1024,}")
# Each counts as one image.
_TOKENS_PER_ATTACHMENT = 1600
# Unless it may be a recording: at 32 tokens a second, that is speech at some 20 kbit/s.
_CHARS_PER_AUDIO_TOKEN = 80


def split_attachments(body: bytes, *, has_audio: bool) -> tuple[bytes, int]:
    """The body without its attachments, and the tokens that those are taken to have."""
    if not has_audio and b"base64" not in body:
        return body, 0
    if not has_audio:
        text, attachments = _ATTACHMENT.subn(b"", body)
        return text, attachments * _TOKENS_PER_ATTACHMENT
    sizes = [len(found[0]) for found in _ATTACHMENT.finditer(body)]
    text = _ATTACHMENT.sub(b"", body)
    tokens = (max(_TOKENS_PER_ATTACHMENT, -(-size // _CHARS_PER_AUDIO_TOKEN)) for size in sizes)
    return text, sum(tokens)
