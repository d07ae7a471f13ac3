"""Estimates the usage of a call from its text if the provider reported no usage.

The entries of such calls are marked `estimated`.
"""

from typing import NamedTuple, Protocol

from libs.common.domain.attachments import attachments_of
from libs.common.domain.token_classes import total_input, total_output
from libs.common.domain.usage import filled
from libs.common.schemas.usage import TokenUsage, UsageSource
from services.gateway.calls.priced_request import PricedRequest
from services.gateway.formats.base import Format

_BYTES_PER_TOKEN = 4


class Tokenizer(Protocol):
    """Approximates the provider's count of a text's tokens, off the event loop."""

    async def count(self, text: bytes) -> int: ...


class Estimate(NamedTuple):
    input: int
    output: int


class Estimator:
    """Counts prompts and answers with one tokeniser."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    async def of_answer(
        self, client_format: Format, priced: PricedRequest, body: bytes, reported: TokenUsage | None
    ) -> tuple[TokenUsage, UsageSource]:
        """The reported usage, with estimates of missing sides; a zero beside text is missing.

        Raises UpstreamFailed if the answer cannot be read.
        """
        text = client_format.text_of_answer(body)
        if reported is not None and _is_believed(client_format, reported, text):
            return reported, "provider"
        known = TokenUsage() if reported is None else reported
        has_input, has_output = total_input(known) > 0, total_output(known) > 0
        usage = filled(
            known,
            0 if has_input else await self._input_tokens(priced),
            0 if has_output else await self._tokenizer.count(text),
        )
        return usage, "estimated"

    async def of_prompt(self, priced: PricedRequest) -> TokenUsage:
        """For a refused call that is charged for its prompt."""
        return TokenUsage(input_text=await self._input_tokens(priced))

    async def of_stream(self, priced: PricedRequest, text: bytes, unkept_bytes: int) -> Estimate:
        """Estimates the prompt, and the text that no report covers."""
        output_tokens = await self._tokenizer.count(text)
        return Estimate(
            input=await self._input_tokens(priced),
            output=output_tokens + by_bytes(unkept_bytes),
        )

    async def _input_tokens(self, priced: PricedRequest) -> int:
        """Counts the fields as the client wrote them, a little more than the model reads."""
        fields = priced.request.fields
        text = b",".join(fields.values())
        attachments = attachments_of(fields)
        for attachment in attachments:
            text = text.replace(attachment.data.encode(), b"", 1)
        attachment_tokens = sum(each.tokens for each in attachments)
        return await self._tokenizer.count(text) + attachment_tokens + priced.continued_tokens


def _is_believed(client_format: Format, reported: TokenUsage, text: bytes) -> bool:
    """A prompt has tokens, and text has output tokens; vectors have no text."""
    if not client_format.generates:
        return total_input(reported) > 0
    if total_output(reported):
        return total_input(reported) > 0
    return not text


def by_bytes(text_bytes: int) -> int:
    """Rounds up: only an empty text has 0 tokens."""
    return -(-text_bytes // _BYTES_PER_TOKEN)
