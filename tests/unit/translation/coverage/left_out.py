"""What a translation may leave out without a word, and why: nothing else may vanish.

Patterns of paths, as `variants` writes them; `=` is before a value.
"""

import re

# It says what is so without it.
NEUTRAL = (
    r"(store|background|defer_loading|async|prewarm|is_error|strict|enabled)=False$",
    r"logprobs=False$",
    r"allowed_callers\[\]=direct$",
    r"caller<direct>$",
    r"service_tier=(auto|default)$",
    r"(speed|mode)=standard$",
    r"(context|search_context_size|type|verbosity)=(auto|medium|web_search_2025_08_26)$",
    r"web_search_preview>\.type=web_search_preview_2025_03_11$",
    r"truncation=disabled$",
    r"format<text>$",
    r"(custom|tools<custom>)\.type=custom$|tools\.type=custom$",
    r"modalities\[\]=text$",
    r"search_content_types\[\]=text$",
    r"response_inclusion=full$",
    r"external_web_access=True$",
    r"user_location\.type=approximate$",
    r"user>\.type=message$",
    r"\.filters$",
    r"(metadata|output_config|reasoning|text|context_management|citations|diagnostics)$",
    r"stream_options",
    r"chat:messages<assistant>$",
    r"reasoning\.effort=none$",
    r"chat:function_call=auto$",
)
# It changes nothing in the answer.
HINTS = (
    r"cache_control",
    r"prompt_cache",
    r"(metadata|safety_identifier)$",
    r"eager_input_streaming",
    r"diagnostics\.",
    r"include\[\]=",
    r"image_url\.detail=",
    r"clear_thinking_20251015",
    r"chat:messages<\w+>\.name$",
    r"\.(status|phase)=",
    r"responses:input<.*>\.id$",
)
# The texts stay that they describe.
DESCRIPTIONS = (r"\.citations\[\]<", r"annotations\[\]<", r"\.logprobs\[\]")
# A model that cannot think is not told how to, and another family's thinking stays at home.
THINKING = (
    r"messages:thinking<(disabled|adaptive|between_tools)>$",
    r"messages:thinking<\w+>\.display=",
    r"reasoning\.(summary|generate_summary)=",
    r"responses:input<reasoning>",
)
# The whole search is left out and named by its own path.
SEARCHES = (
    r"content<(server_tool_use|web_search_tool_result)>\.",
    r"input<web_search_call>\.",
)
WITHOUT_EFFECT = (
    # It limits tools of the provider's, of which there are none.
    r"responses:max_tool_calls$",
    # Anthropic follows every schema of an answer to the letter.
    r"(chat:response_format|responses:text\.format)<json_schema>.*strict=True$",
    # Servers without tiers have the standard one.
    r"service_tier=standard_only$",
)

LEFT_OUT = tuple(
    re.compile(pattern)
    for pattern in (
        *NEUTRAL,
        *HINTS,
        *DESCRIPTIONS,
        *THINKING,
        *SEARCHES,
        *WITHOUT_EFFECT,
    )
)
