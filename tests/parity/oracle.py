"""What litellm says that a usage costs."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any

from services.gateway.upstream.adapters.library import ENVIRONMENT
from tests.parity.payloads import Case, payload_of

# A Tuesday's hour for which no provider has off-peak rates.
_PEAK = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)


@contextmanager
def quiet() -> Iterator[None]:
    """What litellm warns of while it is imported and used is not this project's."""
    # It reads its environment once, when it is imported, and this may be the process' first time.
    os.environ.update(ENVIRONMENT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class LiteLLM:
    """Imports litellm, which takes seconds. Use it within `quiet`."""

    def __init__(self) -> None:
        import litellm
        from litellm._internal_context import _billing_time
        from litellm.cost_calculator import cost_per_token
        from litellm.llms import get_cost_for_web_search_request
        from litellm.llms.anthropic.chat.transformation import AnthropicConfig
        from litellm.responses.utils import ResponseAPILoggingUtils
        from litellm.types.utils import PromptTokensDetailsWrapper, Usage

        litellm.suppress_debug_info = True
        self._billing_time = _billing_time
        self._billing_time.set(_PEAK)
        self._cost_per_token: Callable[..., tuple[float, float]] = cost_per_token
        self._usage: Callable[..., Any] = Usage
        self._message_usage: Callable[..., Any] = AnthropicConfig().calculate_usage
        self._response_usage: Callable[..., Any] = (
            ResponseAPILoggingUtils._transform_response_api_usage_to_chat_usage
        )
        self._model_info: Callable[..., Any] = litellm.get_model_info
        self._rows: dict[str, dict[str, Any]] = litellm.model_cost
        self._details: Callable[..., Any] = PromptTokensDetailsWrapper
        self._searches_usd: Callable[..., float] = get_cost_for_web_search_request
        self.usage_of = cache(self._usage_of)

    def usd(self, name: str, provider: str, case: Case) -> float:
        """The cost of a usage that the provider reported, by litellm's reading of it."""
        input_usd, output_usd = self._cost_per_token(
            model=name,
            custom_llm_provider=self._kind(name, provider),
            usage_object=self.usage_of(case),
            service_tier=None if case.service_tier == "batch" else case.service_tier,
            call_type="retrieve_batch" if case.service_tier == "batch" else "completion",
        )
        return input_usd + output_usd

    def usd_of_message(self, name: str, provider: str, usage: dict[str, Any]) -> float:
        """The cost of an Anthropic message's usage."""
        input_usd, output_usd = self._cost_per_token(
            model=name,
            custom_llm_provider=provider,
            usage_object=self._message_usage(usage, None),
        )
        return input_usd + output_usd

    @contextmanager
    def at(self, time: datetime) -> Iterator[None]:
        """Some providers have other rates at night."""
        token = self._billing_time.set(time)
        try:
            yield
        finally:
            self._billing_time.reset(token)

    def searches_usd(self, name: str, provider: str, searches: int) -> float:
        """The fee for searches, counted where that provider's are."""
        if "claude" in name:
            search = {"server_tool_use": {"web_search_requests": searches}}
            usage = self._message_usage({"input_tokens": 1, "output_tokens": 1, **search}, None)
        else:
            usage = self._usage(prompt_tokens_details=self._details(web_search_requests=searches))
        info = self._model_info(model=name, custom_llm_provider=provider)
        return self._searches_usd(provider, usage, info)

    def _kind(self, name: str, provider: str) -> str:
        """As the map has it: litellm's calculation tells the kinds of Bedrock's models apart."""
        kind: str = self._rows[name]["litellm_provider"]
        return kind if provider == "bedrock" else provider

    def _usage_of(self, case: Case) -> Any:
        payload = payload_of(case)
        match case.convention:
            case "chat":
                return self._usage(**payload)
            case "responses":
                return self._response_usage(payload)
            case "messages":
                return self._message_usage(payload, None)
