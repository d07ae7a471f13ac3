"""Loads LiteLLM, once, and keeps it to itself: no network, logs, callbacks or retries of its own.

The import costs seconds and a hundred megabytes, so it happens on the first translation and in a
thread, and a gateway that only relays never pays for it.
"""

import asyncio
import importlib
import importlib.util
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ENVIRONMENT = {
    # Each of these would otherwise fetch a list from the network at import or at run time.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    # Outside of production it reads a `.env` file from wherever the process was started.
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "CRITICAL",
    # Its client for Azure is shared by all calls, and takes its retries from the first of them.
    "DEFAULT_MAX_RETRIES": "0",
    # It would fetch images for providers that take no URLs, from inside our network.
    "MAX_IMAGE_URL_DOWNLOAD_SIZE_MB": "0",
}

# LiteLLM imports these inside of the first call, where they would hold up the event loop.
_LOADED_LATE = (
    "litellm.litellm_core_utils.default_encoding",
    "litellm.llms.anthropic.chat.handler",
    "openai.resources",
)


class Library:
    """LiteLLM as the translations use it; its modules are untyped for us, hence `Any`."""

    def __init__(self, litellm: Any) -> None:
        from litellm.litellm_core_utils import logging_worker
        from litellm.llms.anthropic.messages import utils as anthropic_utils
        from litellm.llms.anthropic.messages.adapters import streaming_iterator
        from litellm.llms.anthropic.messages.adapters import transformation as messages
        from litellm.responses.litellm_completion_transformation import (
            transformation as responses,
        )

        self.acompletion = litellm.acompletion
        self.aembedding = litellm.aembedding
        self.supported_params = litellm.get_supported_openai_params
        self.anthropic_adapter = messages.AnthropicAdapter()
        self.anthropic_stream = streaming_iterator.AnthropicStreamWrapper
        self.normalize_reasoning_effort = anthropic_utils.normalize_reasoning_effort_value
        self.responses_config = responses.LiteLLMCompletionResponsesConfig
        self._litellm = litellm
        self._logging_worker = logging_worker.GLOBAL_LOGGING_WORKER

    async def close(self) -> None:
        """Closes the providers' connections. LiteLLM makes new clients if it is used again."""
        await self._logging_worker.stop()
        await self._litellm.close_litellm_async_clients()
        self._litellm.in_memory_llm_clients_cache.flush_cache()
        # The one that some streams use is made on first use and kept beside the cache.
        shared = vars(self._litellm).pop("module_level_aclient", None)
        if shared is not None:
            await shared.close()


class LazyLibrary:
    """Imports on first use, off the event loop; concurrent first users share one import.

    An import goes on when the call that began it is cancelled. A second thread that imported beside
    it would get modules that are half made, and keep them.
    """

    def __init__(self, load: Callable[[], Library] | None = None) -> None:
        self._load = load or _load
        self._loading: asyncio.Future[Library] | None = None

    async def get(self) -> Library:
        if self._loading is None or _has_failed(self._loading):
            self._loading = asyncio.get_running_loop().run_in_executor(None, self._load)
        return await asyncio.shield(self._loading)

    async def close(self) -> None:
        loading, self._loading = self._loading, None
        if loading is None:
            return
        await asyncio.wait([loading])
        if not _has_failed(loading):
            await loading.result().close()


def _has_failed(loading: asyncio.Future[Library]) -> bool:
    return loading.done() and loading.exception() is not None


def _load() -> Library:
    os.environ.update(ENVIRONMENT)
    os.environ["TIKTOKEN_CACHE_DIR"] = bundled_tokenizers()
    # pydantic's remarks on LiteLLM's own types and habits say nothing to an operator.
    warnings.filterwarnings("ignore", r"Items? .* using the `ReadOnly` qualifier", UserWarning)
    warnings.filterwarnings("ignore", r"Accessing the 'model_(\w+)' attr", DeprecationWarning)
    import httpx
    import litellm

    _stay(httpx.AsyncClient)
    for name in _LOADED_LATE:
        importlib.import_module(name)
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.turn_off_message_logging = True
    # Its log lines can hold prompts; what a call needs to say is said by its error.
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
    litellm.callbacks = []
    litellm.success_callback = []
    litellm.failure_callback = []
    litellm.num_retries = 0
    litellm.drop_params = False
    litellm.modify_params = False
    litellm.disable_hf_tokenizer_download = True
    # It would cut stop sequences to four without a word, and end a stream that repeats itself, as
    # tables do.
    litellm.disable_stop_sequence_limit = True
    litellm.REPEATED_STREAMING_CHUNK_LIMIT = 10**9
    return Library(litellm)


def _stay(client: Any) -> None:
    """Its clients, and those of the SDKs inside it, would follow a redirect with the call's body
    and go to hosts that no route names. They offer no other place to say so; the gateway's own
    client is of another library.
    """
    send = client.send
    if getattr(send, "stays", False):
        return

    async def stay(self: Any, request: Any, **options: Any) -> Any:
        return await send(self, request, **{**options, "follow_redirects": False})

    stay.stays = True  # type: ignore[attr-defined]
    client.send = stay


def bundled_tokenizers() -> str:
    """The directory of the tokenisers in LiteLLM's package, which need not be imported for it."""
    spec = importlib.util.find_spec("litellm")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("LiteLLM is not installed: install the gateway's requirements")
    return str(Path(spec.origin).parent / "litellm_core_utils" / "tokenizers")
