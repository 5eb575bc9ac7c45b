{{- /* The Ingress of a Service with a port `http`, and rules that several NetworkPolicies share. */ -}}

{{- /* `of`: root, name and component of the Service; `ingress`: its settings. */ -}}
{{- define "meshmart.ingress" -}}
{{- $ingress := .ingress -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ .of.name }}
  namespace: {{ .of.root.Release.Namespace }}
  labels:
    {{- include "meshmart.labels" .of | nindent 4 }}
  {{- with $ingress.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with $ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- with $ingress.tlsSecret }}
  tls:
    - secretName: {{ . }}
      {{- with $ingress.host }}
      hosts: [{{ . | quote }}]
      {{- end }}
  {{- end }}
  rules:
    - {{ with $ingress.host }}host: {{ . | quote }}
      {{ end }}http:
        paths:
          - path: /
            pathType: Prefix
            backend: {service: {name: {{ .of.name }}, port: {name: http}}}
{{- end }}

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
