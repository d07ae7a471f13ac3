#!/usr/bin/env bash
# litellm 1.110.2: in a batch, cache writes that last an hour cost what 5-minute writes cost.
#
# Anthropic's pages: a 1-hour write costs twice the input rate, a 5-minute write 1.25 times, and the
# batch discount of a half applies on top of either. litellm's `cost_per_token` tells the two apart;
# `batch_cost_calculator` halves the 5-minute rate for both.
# Seen: a million tokens written to the cache of claude-sonnet-4-5 (input 3 USD per million):
# 3.75 and 6.0 USD outside of a batch, 1.875 and 1.875 USD inside (by the pages 1.875 and 3.0).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check litellm==1.110.2
cd "$folder"
LITELLM_LOCAL_MODEL_COST_MAP=True LITELLM_LOG=CRITICAL venv/bin/python -W ignore - <<'PY'
from litellm.cost_calculator import batch_cost_calculator, cost_per_token
from litellm.llms.anthropic.chat.transformation import AnthropicConfig

MODEL, PROVIDER, WRITTEN = "claude-sonnet-4-5", "anthropic", 1_000_000


def usage(field):
    return AnthropicConfig().calculate_usage(
        {
            "input_tokens": 0,
            "cache_creation_input_tokens": WRITTEN,
            "cache_creation": {
                "ephemeral_5m_input_tokens": 0,
                "ephemeral_1h_input_tokens": 0,
                field: WRITTEN,
            },
            "output_tokens": 0,
        },
        None,
    )


seen = {}
for field in ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"):
    single, _ = cost_per_token(MODEL, custom_llm_provider=PROVIDER, usage_object=usage(field))
    batch, _ = batch_cost_calculator(usage(field), MODEL, PROVIDER)
    seen[field] = (round(single, 9), round(batch, 9))
    print(f"{field}: {single} USD, in a batch {batch} USD")
assert list(seen.values()) == [(3.75, 1.875), (6.0, 1.875)], "it has changed"
PY
