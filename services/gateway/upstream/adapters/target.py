"""The target of a translation and its refusal; importable without LiteLLM."""

import msgspec

from libs.common.errors import UpstreamCause


class TranslationTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Where a call goes: LiteLLM's name of the provider and the model without its prefix.

    `api_base` is what LiteLLM expects for the provider: with `/v1` where OpenAI's paths are
    used, with or without it for Anthropic. None leaves base or key to LiteLLM's environment.
    With `drop_params`, LiteLLM leaves out what the provider does not know instead of refusing it.
    """

    provider: str
    model: str
    api_base: str | None
    api_key: str | None
    timeout_s: float
    drop_params: bool = False

    def __repr__(self) -> str:
        return f"TranslationTarget(provider={self.provider!r}, model={self.model!r})"


class TranslationRefused(Exception):
    """The provider, or the translation to it, gave no answer.

    `status` is the HTTP status for the client, `message` the provider's own words where it
    said any, `code` its code or error type, `retry_after` its header, as it came. `cause` says
    of a failure that is not an answer of the provider what it is due to, where that can be told.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        retry_after: str | None = None,
        cause: UpstreamCause | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.retry_after = retry_after
        self.cause = cause
