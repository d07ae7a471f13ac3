#!/usr/bin/env bash
# litellm 1.110.2: a Fireworks call in the priority tier is costed at the standard rates.
#
# The bundled map has `input_cost_per_token_priority` and its siblings for 52 models of Fireworks, and
# `cost_per_token(..., service_tier="priority")` reads such keys for other providers (OpenAI below).
# For Fireworks the tier is not handed on to the calculation.
# Seen: 100,000 input tokens of deepseek-v4-pro-0813: 0.132 USD, with priority 0.132 USD (the map's
# priority rate makes 0.165); of gpt-5.4: 0.25 USD, with priority 0.5 USD.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check litellm==1.110.2
cd "$folder"
LITELLM_LOCAL_MODEL_COST_MAP=True LITELLM_LOG=CRITICAL venv/bin/python -W ignore - <<'PY'
import litellm
from litellm.cost_calculator import cost_per_token
from litellm.types.utils import Usage

USAGE = Usage(prompt_tokens=100_000, completion_tokens=0, total_tokens=100_000)
MODELS = {
    "fireworks_ai/accounts/fireworks/models/deepseek-v4-pro-0813": "fireworks_ai",
    "gpt-5.4": "openai",
}

ratios = []
for model, provider in MODELS.items():
    row = litellm.model_cost[model]
    costs = [
        cost_per_token(model, custom_llm_provider=provider, usage_object=USAGE, service_tier=tier)[0]
        for tier in (None, "priority")
    ]
    listed = row["input_cost_per_token_priority"] / row["input_cost_per_token"]
    ratios.append((round(costs[1] / costs[0], 4), round(listed, 4)))
    print(f"{model}: {costs[0]} USD, priority {costs[1]} USD; the map's ratio is {listed}")
assert ratios == [(1.0, 1.25), (2.0, 2.0)], "it has changed"
PY
