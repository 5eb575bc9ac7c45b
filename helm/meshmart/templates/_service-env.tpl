{{- /* Whether visitors come by https. */ -}}
{{- define "meshmart.https" -}}
{{- $https := toString .Values.pages.https -}}
{{- ternary (toString .Values.ingress.enabled) $https (eq $https "auto") -}}
{{- end }}

{{- /* Environment of a service, arguments: root, spec. `env` of the values wins over it. */ -}}
{{- define "meshmart.serviceEnv" -}}
{{- $bind := .root.Values.bindAddress -}}
MESH_ADDRESS: "{{ $bind }}:50051"
MESH_HEALTH_ADDRESS: "{{ $bind }}:50052"
MESH_ADMIN_ADDRESS: "{{ $bind }}:9090"
{{- /* Prometheus scrapes from another pod; the page is for kubectl port-forward. */}}
MESH_ADMIN_METRICS_ONLY: "true"
{{- if .root.Values.console.enabled }}
{{- /* The console reads the settings in force from another pod. Metrics need no token. */}}
MESH_ADMIN_TOKEN_FILE: /var/run/meshmart/admin/token
{{- end }}
MESH_IDENTITY_DIRECTORY: /var/run/mesh/tls
MESH_AUTHZ_POLICY_FILE: /etc/mesh/policy.toml
{{- /* What clients know of the shop, in whatever namespace it is. */}}
MESH_AUTH_ISSUER: https://user.meshmart
MESH_AUTH_AUDIENCE: meshmart
MESH_SERVER_ERROR_DOMAIN: meshmart
MESH_FAULT_ENABLED: {{ .root.Values.faults.enabled | quote }}
MESH_DRAIN_DELAY: {{ .spec.drain.delay | quote }}
MESH_DRAIN_GRACE: {{ .spec.drain.grace | quote }}
MESH_DRAIN_STREAM_GRACE: {{ .spec.drain.streamGrace | quote }}
{{- if .spec.web }}
MESHMART_HTTP_ADDRESS: "{{ $bind }}:8080"
{{- with include "meshmart.pagesUrl" .root }}
MESHMART_TRACES_URL: {{ . }}
{{- end }}
MESHMART_SECURE_COOKIES: {{ eq (include "meshmart.https" .root) "true" | quote }}
MESHMART_DEMO_USERS: {{ .root.Values.seed.demoUsers | quote }}
{{- with .root.Values.pages.trustedProxies }}
MESHMART_TRUSTED_PROXIES: {{ join "," . | quote }}
{{- end }}
{{- end }}
{{- if .spec.mail }}
{{- with include "meshmart.mailEnv" .root }}
{{ . }}
{{- end }}
{{- end }}
{{- if .spec.signingKeys }}
MESHMART_SIGNING_KEYS_DIR: /var/run/meshmart/keys
{{- end }}
{{- end }}
