#!/usr/bin/env bash
# litellm 1.110.2: a batch's cached input is free where the price map has no rate for it.
#
# `batch_cost_calculator` charges half of the input rate for fresh input. For cached input it takes
# half of `cache_read_input_token_cost`, and where the row lacks that key, 0: not the input rate, as
# `cost_per_token` does for the same usage outside of a batch. Two fifths of the map's chat models
# lack it (and have no `input_cost_per_token_batches`, with which the other branch applies).
# Seen: 10,000 tokens of amazon.titan-text-express-v1: 0.001 USD fresh, 0.0 USD cached; 0.002 USD
# cached outside of a batch.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check litellm==1.110.2
cd "$folder"
LITELLM_LOCAL_MODEL_COST_MAP=True LITELLM_LOG=CRITICAL venv/bin/python -W ignore - <<'PY'
import litellm
from litellm.cost_calculator import batch_cost_calculator, cost_per_token
from litellm.types.utils import PromptTokensDetailsWrapper, Usage

MODEL, PROVIDER = "amazon.titan-text-express-v1", "bedrock"


def usage(cached):
    details = PromptTokensDetailsWrapper(cached_tokens=cached)
    return Usage(
        prompt_tokens=10_000, completion_tokens=0, total_tokens=10_000, prompt_tokens_details=details
    )


fresh, _ = batch_cost_calculator(usage(0), MODEL, PROVIDER)
cached, _ = batch_cost_calculator(usage(10_000), MODEL, PROVIDER)
single, _ = cost_per_token(MODEL, custom_llm_provider=PROVIDER, usage_object=usage(10_000))
concerned = [
    name
    for name, row in litellm.model_cost.items()
    if row.get("mode") == "chat"
    and row.get("input_cost_per_token")
    and not row.keys() & {"cache_read_input_token_cost", "input_cost_per_token_batches"}
]
print(f"batch, fresh {fresh}, cached {cached}; outside of a batch, cached {single} USD")
print(f"chat models concerned: {len(concerned)}")
assert (round(fresh, 9), cached, round(single, 9)) == (0.001, 0.0, 0.002), "it has changed"
assert len(concerned) == 1412, "it has changed"
PY
