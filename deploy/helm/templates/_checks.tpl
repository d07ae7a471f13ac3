{{/* What the schema cannot say. */}}

{{- define "check.grace" -}}
{{- $setting := eq .name "ledger-worker" | ternary "WORKER_GRACE_S" "SHUTDOWN_GRACE_S" }}
{{- $grace := dict "gateway" 60 "admin" 30 "ledger-worker" 25 | dig .name 0 }}
{{- range list .root.Values.settings .values.settings }}
{{- if hasKey . $setting }}
{{- $grace = index . $setting }}
{{- end }}
{{- end }}
{{- $needed := add (.values.preStopSeconds | default 0) (int64 $grace) }}
{{- if le (int64 .values.terminationGracePeriodSeconds) $needed }}
{{- printf "%s.terminationGracePeriodSeconds must be more than preStopSeconds and %s together, which are %d s: the pod would be killed before it has finished" .key $setting $needed | fail }}
{{- end }}
{{- end }}
