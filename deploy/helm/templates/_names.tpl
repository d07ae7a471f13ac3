{{/* Names, labels and images. A component is a dict: root ($), key (of its values), name. */}}

{{- define "components" -}}
gateway: {key: gateway, port: 8000, portName: http}
admin: {key: admin, port: 8001, portName: http}
ledger-worker: {key: ledgerWorker, port: 9100, portName: metrics}
{{- end }}

{{- define "selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{/* Of an object that belongs to no component, and on top of the selector of one that does. */}}
{{- define "release.labels" -}}
app.kubernetes.io/part-of: litellm-gateway
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* metadata of an object. dict: root, name, and component's name where it has one, labels, annotations */}}
{{- define "metadata" -}}
name: {{ .root.Values.namePrefix }}{{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- with merge (dict) (.labels | default dict) .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- include "release.labels" .root | nindent 2 }}
  {{- if .component }}
  {{- include "selector" (dict "root" .root "name" .component) | nindent 2 }}
  {{- else }}
  app.kubernetes.io/instance: {{ .root.Release.Name }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "image" -}}
{{- $image := .values.image -}}
{{- with .root.Values.image.registry }}{{ . }}/{{ end -}}
{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}
{{- else }}:{{ $image.tag | default .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "serviceAccount" -}}
{{- $account := .values.serviceAccount -}}
{{- if $account.create }}{{ $account.name | default (printf "%s%s" .root.Values.namePrefix .name) }}
{{- else }}{{ $account.name | default "default" }}
{{- end }}
{{- end }}

{{/* Settings of one service. The admin service calls the gateway by its Service's name. */}}
{{- define "settings" -}}
{{- $settings := .values.settings }}
{{- if and (eq .name "admin") .root.Values.namePrefix (not (hasKey $settings "GATEWAY_URL")) }}
{{- $url := printf "http://%sgateway:8000" .root.Values.namePrefix }}
{{- $settings = merge (dict) $settings (dict "GATEWAY_URL" $url) }}
{{- end }}
{{- toYaml $settings }}
{{- end }}

{{/* A setting as a string. Helm reads every number as a float, which would print 1e+09. */}}
{{- define "setting" -}}
{{- if kindIs "float64" . }}
{{- if eq (floor .) . }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- else }}{{ . }}
{{- end }}
{{- end }}
