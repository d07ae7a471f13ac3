"""Counts the tokens of a text with the tokeniser that LiteLLM bundles, off the event loop.

It is imported on first use, in a thread: it costs fifty megabytes, which a gateway whose providers
report what they used never needs.
"""

import asyncio
import os

import structlog

from services.gateway.upstream.adapters.library import bundled_tokenizers
from services.gateway.usage.estimator import by_bytes

log = structlog.get_logger(__name__)
_ENCODING = "cl100k_base"
# Longer texts are counted by their bytes: a tokeniser would be busy with them for too long.
MAX_TEXT_BYTES = 1024 * 1024


class BundledTokenizer:
    """One tokeniser for all models, since these counts are estimates in any case."""

    async def count(self, text: bytes) -> int:
        if not text:
            return 0
        if len(text) > MAX_TEXT_BYTES:
            return by_bytes(len(text))
        return await asyncio.to_thread(_count, text)


def _count(text: bytes) -> int:
    os.environ["TIKTOKEN_CACHE_DIR"] = bundled_tokenizers()
    try:
        import tiktoken

        encoding = tiktoken.get_encoding(_ENCODING)
    except (ImportError, OSError) as error:
        log.error("tokenizer.missing", error=error)
        return by_bytes(len(text))
    # Text of a model may look like a special token, and is not one.
    return len(encoding.encode_ordinary(text.decode(errors="replace")))
