"""Members of bodies that no search concerns: they name no object, model or billed feature.

Most bodies have only these, which one comparison shows. A test checks them against each search.
"""

PLAIN_MEMBERS = frozenset(
    {
        "dimensions",
        "encoding_format",
        "frequency_penalty",
        "instructions",
        "logprobs",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning",
        "reasoning_effort",
        "response_format",
        "seed",
        "service_tier",
        "stop",
        "stop_sequences",
        "store",
        "stream",
        "stream_options",
        "system",
        "temperature",
        "text",
        "thinking",
        "tool_choice",
        "top_k",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
    }
)
