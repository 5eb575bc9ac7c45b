{{- /* Rules that several NetworkPolicies share. */ -}}

{{- define "meshmart.operatorPeers" -}}
- podSelector:
    matchLabels: {app.kubernetes.io/instance: {{ .Release.Name }}}
    matchExpressions: [{key: app.kubernetes.io/component, operator: In, values: [toolbox, test]}]
{{- end }}

{{- define "meshmart.scrape" -}}
{{- if or .Values.prometheus.enabled .Values.networkPolicy.scrapeFrom }}
# Prometheus.
- from:
    {{- if .Values.prometheus.enabled }}
    - podSelector: {matchLabels: {app.kubernetes.io/name: prometheus, app.kubernetes.io/instance: {{ .Release.Name }}}}
    {{- end }}
    {{- with .Values.networkPolicy.scrapeFrom }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports: [{port: 9090}]
{{- end }}
{{- end }}

{{- define "meshmart.otlpEgress" -}}
{{- if .Values.otlp.endpoint }}
# Spans.
- ports: [{port: {{ regexFind "[0-9]+$" (trimSuffix "/" .Values.otlp.endpoint) | default "4317" }}}]
  {{- with .Values.networkPolicy.otlpTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- else if .Values.jaeger.enabled }}
# Spans.
- to:
    - podSelector: {matchLabels: {app.kubernetes.io/name: jaeger, app.kubernetes.io/instance: {{ .Release.Name }}}}
  ports: [{port: 4317}]
{{- end }}
{{- end }}

{{- define "meshmart.databaseEgress" -}}
# The database.
{{- if include "meshmart.bundledDatabase" . }}
- to:
    - podSelector: {matchLabels: {app.kubernetes.io/name: postgres, app.kubernetes.io/instance: {{ .Release.Name }}}}
  ports: [{port: 5432}]
{{- else }}
- ports: [{port: {{ .Values.database.port }}}]
  {{- with .Values.networkPolicy.databaseTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "meshmart.apiEgress" -}}
# The Kubernetes API, whose address no selector knows.
- ports:
    {{- range .Values.networkPolicy.apiServerPorts }}
    - {port: {{ . }}}
    {{- end }}
{{- end }}
