#!/bin/bash
# The operator's everyday jobs, each in one or two requests. docs/operations.md shows what it prints.
#
#   make up && (set -a; . .local/stack.env; docs/jobs.sh)
#
# It needs curl and jq (which only shortens the answers), and ADMIN_URL, ADMIN_API_KEY, GATEWAY_URL and
# DEMO_API_KEY of a stack with the scripted provider. It works on an account of its own, and stops at
# the first request that fails.
set -euo pipefail

admin() { curl -sS --fail-with-body -H "Authorization: Bearer $ADMIN_API_KEY" -H "Content-Type: application/json" "$@"; }
call() { # call KEY TEXT [more of curl]: one chat call; prints its status and its request id
  curl -sS -o /dev/null -w '%{http_code} %header{x-request-id}\n' "$GATEWAY_URL/v1/chat/completions" "${@:3}" \
    -H "Authorization: Bearer $1" -H "Content-Type: application/json" \
    -d "{\"model\": \"$MODEL\", \"messages\": [{\"role\": \"user\", \"content\": \"$2\"}]}"
}
job() { printf '\n== %s\n' "$*"; }

# --- What the jobs are about: a customer with a route, a budget, and some calls ---------------------

ID=jobs-$(date +%s)
MODEL=$ID/assistant
MONTH=$(date -u +%Y-%m)
WEEK=$(date -u -d "$(($(date -u +%u) - 1)) days ago" +%F)
admin "$ADMIN_URL/admin/accounts" -d "{\"user_id\": \"$ID\", \"name\": \"A customer\", \"metadata\": {\"plan\": \"trial\"},
  \"budget\": {\"limit_usd\": 0.02, \"period\": \"total\"}}" >/dev/null
admin "$ADMIN_URL/admin/models" -d "{\"model\": \"$MODEL\", \"deployments\": [{\"model\": \"openai/gpt-4o-mini\"}]}" >/dev/null
PRICE_ID=$(admin "$ADMIN_URL/admin/costs" -d "{\"model\": \"$ID-model\", \"input_cost_per_million\": 0.4,
  \"output_cost_per_million\": 1.6}" | jq -r .price_id)
read -r KEY_ID KEY < <(admin "$ADMIN_URL/admin/keys" -d "{\"user_id\": \"$ID\", \"name\": \"app\"}" | jq -r '"\(.key_id) \(.api_key)"')
read -r _ REQUEST_ID < <(call "$KEY" "[[stand-in input_tokens=20000 output_tokens=3000]]" -H "x-gateway-tags: team:search")
call "$KEY" "[[stand-in input_tokens=9000 output_tokens=900]]" >/dev/null
call "$KEY" "[[stand-in status=503]]" >/dev/null
# Entries are posted within a moment.
for _ in $(seq 100); do
  [ "$(admin "$ADMIN_URL/admin/usage?user_id=$ID" | jq '.data | length')" -ge 3 ] && break || sleep 0.2
done

# --- The jobs -------------------------------------------------------------------------------------

job "1. Who spent most this week, by model"
admin "$ADMIN_URL/admin/usage/summary?group_by=account,model&since=$WEEK&limit=5" |
  jq -c '.data[] | {user_id, model, cost_usd, calls}'

job "2. Spend per day"
admin "$ADMIN_URL/admin/usage/series?interval=day&since=$WEEK" | jq -c '.total[] | {start, cost_usd, calls}'

job "3. Read-only access for somebody"
READER=$(admin "$ADMIN_URL/admin/people" -d "{\"name\": \"Auditor $ID\", \"role\": \"viewer\"}" | jq -r .admin_key)
curl -sS -o /dev/null -w 'they read: %{http_code}\n' -H "Authorization: Bearer $READER" "$ADMIN_URL/admin/accounts/$ID"
curl -sS -o /dev/null -w 'they write: %{http_code}\n' -H "Authorization: Bearer $READER" -H "Content-Type: application/json" \
  -X PATCH "$ADMIN_URL/admin/accounts/$ID" -d '{"name": "Mine"}'

job "4. Rotate a key without a failed call"
NEW_KEY=$(admin "$ADMIN_URL/admin/keys/$KEY_ID/rotate" -d '{"grace_s": 3600}' | jq -r .api_key)
echo "the old secret: $(call "$KEY" "[[stand-in output_tokens=5]]" | cut -d' ' -f1)," \
  "the new one: $(call "$NEW_KEY" "[[stand-in output_tokens=5]]" | cut -d' ' -f1)"

job "5. The call behind a request id"
admin "$ADMIN_URL/admin/ledger/entries/$REQUEST_ID" |
  jq -c '{status, model, tags, cost_usd, lines: [.lines[] | {item, quantity, amount_usd}]}'

job "6. A month as CSV: its statement, and every call"
admin "$ADMIN_URL/admin/accounts/$ID/statements/$MONTH?format=csv" | cut -d, -f1-9,15
admin "$ADMIN_URL/admin/usage/export?format=csv&period=$MONTH&user_id=$ID" | cut -d, -f2,6,14,19

job "7. Budgets that will run out"
admin "$ADMIN_URL/admin/budgets?at_risk=true&user_id=$ID" | jq -c '.data[]'

job "8. Failing deployments: of which calls failed, and which cool down"
admin "$ADMIN_URL/admin/usage?status=upstream_error&since=$WEEK&limit=200" |
  jq -c '.data | group_by(.model)[] | {model: .[0].model, deployment: .[0].deployment, failed: length, error_code: .[0].error_code}'
admin "$ADMIN_URL/admin/models/$MODEL" | jq -c '.deployments[] | {model, cooling_until}'

job "9. Who changed this price"
admin "$ADMIN_URL/admin/audit?kind=costs&object=$PRICE_ID" | jq -c '.data[] | {at, actor_name, action, outcome}'

job "10. Import prices: what it would change"
admin "$ADMIN_URL/admin/costs/import" -d '{"limit": 1}' | jq -c '{dry_run, new, changed, kept}'

job "11. Calls by tag"
admin "$ADMIN_URL/admin/usage?tag=team:search&user_id=$ID" | jq -c '.data[] | {entry_id, tags, cost_usd}'

job "12. Suspend the customers of a kind, and let them in again"
admin "$ADMIN_URL/admin/account-status" -d "{\"status\": \"suspended\", \"dry_run\": false,
  \"filter\": {\"user_ids\": [\"$ID\"], \"metadata\": {\"plan\": \"trial\"}}}" | jq -c .
echo "a call: $(call "$NEW_KEY" "Hello" | cut -d' ' -f1)"
admin -X PATCH "$ADMIN_URL/admin/accounts/$ID" -d '{"status": "active"}' | jq -c '{user_id, status}'
