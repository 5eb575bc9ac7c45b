{{- /* Parts of the console, and of its neighbours where it is enabled. */ -}}

{{- define "meshmart.consolePeer" -}}
- podSelector: {matchLabels: {app.kubernetes.io/name: console, app.kubernetes.io/instance: {{ .Release.Name }}}}
{{- end }}

{{- define "meshmart.adminTokenSecret" -}}
{{ .Values.console.adminTokenSecret | default "meshmart-admin-token" }}
{{- end }}

{{- /* The origin under which browsers reach the console. Empty: an IP address or localhost, by a port-forward. */ -}}
{{- define "meshmart.consoleOrigin" -}}
{{- if .Values.console.origin -}}
{{ .Values.console.origin }}
{{- else if and .Values.console.ingress.enabled .Values.console.ingress.host -}}
https://{{ .Values.console.ingress.host }}
{{- end -}}
{{- end }}

{{- /* What the console may do to the cluster. docs/console.md says what each rule is for; a test compares both. */ -}}
{{- define "meshmart.consoleRules" -}}
- {apiGroups: [""], resources: [pods, services], verbs: [list, watch]}
- {apiGroups: [apps], resources: [deployments], verbs: [list, watch]}
- {apiGroups: [""], resources: [pods/log], verbs: [get]}
{{- if .Values.console.switches.enabled }}
{{- $services := keys (include "meshmart.services" . | fromYaml) | sortAlpha }}
- {apiGroups: [""], resources: [pods], verbs: [patch, delete]}
- {apiGroups: [apps], resources: [deployments], verbs: [get, patch], resourceNames: {{ toJson $services }}}
- {apiGroups: [autoscaling], resources: [horizontalpodautoscalers], verbs: [list]}
{{- if eq .Values.tls.mode "cert-manager" }}
{{- $certificates := (include "meshmart.workloads" . | fromYaml).names }}
- {apiGroups: [cert-manager.io], resources: [certificates], verbs: [list]}
- {apiGroups: [cert-manager.io], resources: [certificates], verbs: [get], resourceNames: {{ toJson $certificates }}}
- {apiGroups: [cert-manager.io], resources: [certificates/status], verbs: [patch], resourceNames: {{ toJson $certificates }}}
{{- end }}
{{- end }}
{{- end }}

{{- /* Workloads whose certificates the console has: its own to ask who is an admin, the operator's for the switches. */ -}}
{{- define "meshmart.consoleIdentities" -}}
{{- toYaml (ternary (list "console" "client" "outsider") (list "console") .Values.console.switches.enabled) -}}
{{- end }}

{{- define "meshmart.consoleEnv" -}}
{{- $env := include "meshmart.meshEnv" (dict "root" . "name" "console") | fromYaml }}
{{- /* The console makes few calls, none for a visitor of the shop, so its spans are not exported. */}}
{{- $env = omit $env "MESH_TELEMETRY_OTLP_ENDPOINT" "MESH_TELEMETRY_OTLP_METRICS" "MESH_TELEMETRY_SAMPLE_RATIO" }}
{{- $own := dict
  "MESH_IDENTITY_DIRECTORY" "/var/run/mesh/certs/console"
  "MESH_ADMIN_ADDRESS" ""
  "MESH_ADMIN_TOKEN_FILE" "/var/run/meshmart/admin/token"
  "MESHMART_CLUSTER" "kubernetes" }}
{{- /* Whoever writes the Secrets of existing-secret renews them by a rule of their own. */}}
{{- if ne .Values.tls.mode "existing-secret" }}
{{- $_ := set $own "MESHMART_CONSOLE_RENEW_BEFORE" (include "meshmart.seconds" .Values.tls.renewBefore) }}
{{- end }}
{{- with include "meshmart.consoleOrigin" . }}
{{- $_ := set $own "MESHMART_CONSOLE_ORIGIN" . }}
{{- end }}
{{- /* Links for a browser, which cannot reach the services' own addresses. */}}
{{- with include "meshmart.pagesUrl" . }}
{{- $_ := set $own "MESHMART_TRACES_URL" . }}
{{- end }}
{{- if and .Values.ingress.enabled .Values.ingress.host }}
{{- $https := eq (include "meshmart.https" .) "true" }}
{{- $_ := set $own "MESHMART_STOREFRONT_URL" (printf "%s://%s" (ternary "https" "http" $https) .Values.ingress.host) }}
{{- end }}
{{- include "meshmart.env" (mergeOverwrite $env $own) }}
{{- end }}

{{- define "meshmart.consoleProblems" -}}
{{- $problems := list -}}
{{- $console := .Values.console -}}
{{- if $console.enabled -}}
{{- if not (hasKey (include "meshmart.services" . | fromYaml) "user") -}}
{{- $problems = append $problems "console.enabled: admins log in at the user service, which is switched off (services.user.enabled)" -}}
{{- end -}}
{{- if $console.ingress.enabled -}}
{{- if not $console.ingress.host -}}
{{- $problems = append $problems "console.ingress.host: must be set, because the console answers to no other host name" -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.consoleFrom) -}}
{{- $problems = append $problems "networkPolicy.consoleFrom: must name the Ingress controller's pods, or console.ingress cannot reach the console" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end }}
