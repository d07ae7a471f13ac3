{{/* The pod of each service. A component is a dict: root ($), name, values, port, portName. */}}

{{/* Its variables. */}}
{{- define "environment" -}}
{{- with .values.extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
envFrom:
  {{- with .root.Values.settings }}
  - configMapRef:
      name: {{ $.root.Values.namePrefix }}settings
  {{- end }}
  {{- if include "settings" . | fromYaml }}
  - configMapRef:
      name: {{ .root.Values.namePrefix }}{{ .name }}-settings
  {{- end }}
  {{- range .values.secrets }}
  - secretRef:
      name: {{ . }}
  {{- end }}
  {{- with .values.extraEnvFrom }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "pod.securityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "container.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "probes" -}}
{{- if eq .name "ledger-worker" }}
{{- $check := dict "command" (list "python" "-m" "services.ledger_worker" "--check") }}
startup: {exec: {{ toJson $check }}, periodSeconds: 5, timeoutSeconds: 15, failureThreshold: 24}
readiness: {exec: {{ toJson $check }}, periodSeconds: 30, timeoutSeconds: 15, failureThreshold: 2}
# Slow to act: while Redis is away the check fails, and a restart would not bring it back.
liveness: {exec: {{ toJson $check }}, periodSeconds: 60, timeoutSeconds: 15, failureThreshold: 5}
{{- else }}
# A new pod must have reached both databases once, so that a wrong setting stops a rollout.
startup: {httpGet: {path: /ready, port: http}, periodSeconds: 2, timeoutSeconds: 3, failureThreshold: 60}
# After that a gateway's calls go on while a database is away (by policy, from caches and the spool):
# taking every replica out of the load balancer would turn a small outage into a full one.
readiness:
  httpGet: {path: {{ eq .name "gateway" | ternary "/health" "/ready" }}, port: http}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
liveness: {httpGet: {path: /health, port: http}, periodSeconds: 10, timeoutSeconds: 3, failureThreshold: 3}
{{- end }}
{{- end }}

{{- define "topologySpread" -}}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "selector" $ | nindent 6 }}
{{- end }}
{{- end }}

{{- define "pod" -}}
serviceAccountName: {{ include "serviceAccount" . }}
automountServiceAccountToken: false
# Else a Service called `gateway` would set GATEWAY_PORT to tcp://…, which is a setting here.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds }}
securityContext:
  {{- include "pod.securityContext" . | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml .values.topologySpreadConstraints | nindent 2 }}
{{- else if .values.topologySpread }}
topologySpreadConstraints:
  {{- include "topologySpread" . | nindent 2 }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
containers:
  - name: {{ .name }}
    {{- include "container" . | nindent 4 }}
volumes:
  - name: tmp
    emptyDir:
      sizeLimit: 64Mi
  {{- with .values.spool }}
  - name: spool
    {{- .volume | default (dict "emptyDir" (dict "sizeLimit" .sizeLimit)) | toYaml | nindent 4 }}
  {{- end }}
  {{- with .values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "container" -}}
image: {{ include "image" . }}
{{- with .root.Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
ports:
  - name: {{ .portName }}
    containerPort: {{ .port }}
{{ include "environment" . }}
{{- range $probe, $default := include "probes" . | fromYaml }}
{{ $probe }}Probe:
  {{- mergeOverwrite $default (index $.values.probes $probe | default dict) | toYaml | nindent 2 }}
{{- end }}
{{- with .values.preStopSeconds }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ . }}
{{- end }}
resources:
  {{- toYaml .values.resources | nindent 2 }}
securityContext:
  {{- include "container.securityContext" . | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if .values.spool }}
  - name: spool
    mountPath: /var/spool/gateway
  {{- end }}
  {{- with .values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
