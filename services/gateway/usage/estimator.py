"""What a call must have used whose provider did not say: counted from its text, off the event loop.

Only calls without reported usage come here; their entries are marked `estimated`.
"""

from typing import Protocol

from libs.common.domain.attachments import attachments_of
from libs.common.schemas.usage import TokenUsage
from services.gateway.calls.call import Call
from services.gateway.formats.base import StreamReader

_BYTES_PER_TOKEN = 4


class Tokenizer(Protocol):
    """How many tokens a text has, as near as one gets without the provider."""

    async def count(self, text: bytes) -> int: ...


class Estimator:
    """Reads prompts and answers with one tokeniser."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    async def of_answer(self, call: Call, body: bytes) -> TokenUsage:
        """Raises UpstreamFailed where the answer cannot be read at all."""
        text = call.format.text_of_answer(body)
        return TokenUsage(
            input_text=await self._input_tokens(call),
            output_text=await self._tokenizer.count(text),
        )

    async def of_stream(self, call: Call, reader: StreamReader) -> TokenUsage:
        output_tokens = await self._tokenizer.count(reader.text())
        return reader.estimate(
            await self._input_tokens(call), output_tokens + by_bytes(reader.unkept_bytes())
        )

    async def _input_tokens(self, call: Call) -> int:
        """Of the fields as the client wrote them, which is a little more than the model reads."""
        if call.request is None:
            return call.input_tokens
        text = b",".join(call.request.fields.values())
        attachments = attachments_of(text, call.request.fields)
        for attachment in attachments:
            text = text.replace(attachment.data.encode(), b"", 1)
        attached = sum(each.tokens for each in attachments)
        return await self._tokenizer.count(text) + attached + call.continued_tokens


def by_bytes(text_bytes: int) -> int:
    """An estimate, rounded up; never 0 for text that is there."""
    return -(-text_bytes // _BYTES_PER_TOKEN)
