"""Estimates the usage of a call whose provider did not report any, from its text.

The entries of such calls are marked `estimated`.
"""

from typing import Protocol

from libs.common.domain.attachments import attachments_of
from libs.common.schemas.usage import TokenUsage
from services.gateway.calls.priced_request import PricedRequest
from services.gateway.formats.base import Format, StreamReader

_BYTES_PER_TOKEN = 4


class Tokenizer(Protocol):
    """Approximates the provider's count of a text's tokens, off the event loop."""

    async def count(self, text: bytes) -> int: ...


class Estimator:
    """Counts prompts and answers with one tokeniser."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    async def of_answer(
        self, client_format: Format, priced: PricedRequest, body: bytes
    ) -> TokenUsage:
        """Raises UpstreamFailed if the answer cannot be read."""
        text = client_format.text_of_answer(body)
        return TokenUsage(
            input_text=await self._input_tokens(priced),
            output_text=await self._tokenizer.count(text),
        )

    async def of_stream(self, priced: PricedRequest, reader: StreamReader) -> TokenUsage:
        output_tokens = await self._tokenizer.count(reader.text())
        return reader.estimate(
            await self._input_tokens(priced), output_tokens + by_bytes(reader.unkept_bytes())
        )

    async def _input_tokens(self, priced: PricedRequest) -> int:
        """Counts the fields as the client wrote them, a little more than the model reads."""
        fields = priced.request.fields
        text = b",".join(fields.values())
        attachments = attachments_of(text, fields)
        for attachment in attachments:
            text = text.replace(attachment.data.encode(), b"", 1)
        attached = sum(each.tokens for each in attachments)
        return await self._tokenizer.count(text) + attached + priced.continued_tokens


def by_bytes(text_bytes: int) -> int:
    """Rounds up: only an empty text has 0 tokens."""
    return -(-text_bytes // _BYTES_PER_TOKEN)
