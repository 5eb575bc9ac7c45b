{{- /* Names, labels, images: what every template shares. Arguments are dicts: root, name, component. */ -}}

{{- define "meshmart.selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "meshmart.labels" -}}
{{ include "meshmart.selector" . }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: meshmart
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* Of pods: no version, or every upgrade of the chart would replace them all. */ -}}
{{- define "meshmart.podLabels" -}}
{{ include "meshmart.selector" . }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: meshmart
{{- end }}

{{- define "meshmart.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- /* The services that are installed, `default` under each: a map as YAML. */ -}}
{{- define "meshmart.services" -}}
{{- $services := dict -}}
{{- $taken := list "client" "outsider" "test" "postgres" "jaeger" "prometheus" "grafana" "console" "migrations" "credentials" "certificates" "certificate-renewal" "cleanup" -}}
{{- range $name, $own := .Values.services -}}
{{- if has $name $taken -}}
{{- fail (printf "services.%s: the chart itself has an object of this name" $name) -}}
{{- else if not (regexMatch "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$" $name) -}}
{{- fail (printf "services.%s: must be a DNS label, such as order or gift-card" $name) -}}
{{- end -}}
{{- $spec := mergeOverwrite (deepCopy $.Values.default) (deepCopy ($own | default dict)) -}}
{{- if $spec.enabled -}}
{{- range $spec.calls -}}
{{- if not (hasKey $.Values.services .) -}}
{{- fail (printf "services.%s.calls: there is no service %s" $name .) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $services $name $spec -}}
{{- end -}}
{{- end -}}
{{- toYaml $services -}}
{{- end }}

{{- /* Workloads with a certificate: the services, the operator, an outsider whom the policy lets call nothing, the console. */ -}}
{{- define "meshmart.workloads" -}}
{{- $names := keys (include "meshmart.services" . | fromYaml) | sortAlpha -}}
{{- toYaml (dict "names" (concat $names (list "client" "outsider") (ternary (list "console") list .Values.console.enabled))) -}}
{{- end }}

{{- define "meshmart.tlsSecret" -}}
{{- $own := dig .name "tlsSecret" "" (.root.Values.services | default dict) -}}
{{- if and $own (eq .root.Values.tls.mode "existing-secret") }}{{ $own }}{{ else }}{{ .name }}-tls{{ end -}}
{{- end }}

{{- define "meshmart.certificateLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: meshmart
app.kubernetes.io/component: certificate
{{- end }}

{{- /* Of Secrets that hold what must outlive the release: an uninstall leaves them. */ -}}
{{- define "meshmart.credentialLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: meshmart
app.kubernetes.io/component: credentials
{{- end }}

{{- /* The host of the bundled PostgreSQL. */ -}}
{{- define "meshmart.bundledHost" -}}
postgres.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end }}

{{- /* Of the chart's own CA: X.520 allows 64 characters, and a namespace may have 63. A new generation has a subject
       of its own, as two CAs of one name break verification. */ -}}
{{- define "meshmart.caName" -}}
{{- $suffix := printf " mesh CA generation %d" (int .Values.tls.ca.generation) -}}
{{- $name := .Release.Namespace -}}
{{- if gt (add (len $name) (len $suffix)) 64 -}}
{{- $name = printf "%s-%s" (trunc (int (sub 55 (len $suffix))) $name) (trunc 8 (sha256sum $name)) -}}
{{- end -}}
{{ $name }}{{ $suffix }}
{{- end }}

{{- define "meshmart.databaseSecret" -}}
{{ .Values.database.existingSecret | default "meshmart-database" }}
{{- end }}

{{- /* Whether each service has a role of its own. The migrations make them. */ -}}
{{- define "meshmart.databaseRoles" -}}
{{- $roles := toString .Values.database.roles -}}
{{- $auto := and (eq $roles "auto") (include "meshmart.bundledDatabase" .) .Values.migrations.enabled -}}
{{- if or (eq $roles "true") $auto }}true{{ end -}}
{{- end }}

{{- /* The services with a database, as a list in JSON. */ -}}
{{- define "meshmart.databaseServices" -}}
{{- $names := list -}}
{{- range $name, $spec := include "meshmart.services" . | fromYaml -}}
{{- if $spec.database }}{{ $names = append $names $name }}{{ end -}}
{{- end -}}
{{ $names | toJson }}
{{- end }}

{{- define "meshmart.bundledDatabase" -}}
{{- if not .Values.database.existingSecret }}true{{ end -}}
{{- end }}

{{- define "meshmart.signingKeysSecret" -}}
{{ .Values.signingKeys.existingSecret | default "user-signing-keys" }}
{{- end }}

{{- define "meshmart.otlpEndpoint" -}}
{{- if .Values.otlp.endpoint -}}
{{ .Values.otlp.endpoint }}
{{- else if .Values.jaeger.enabled -}}
http://jaeger.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:4317
{{- end -}}
{{- end }}

{{- define "meshmart.pagesUrl" -}}
{{- if .Values.otlp.pagesUrl -}}
{{ .Values.otlp.pagesUrl }}
{{- else if and .Values.jaeger.enabled (not .Values.otlp.endpoint) -}}
http://127.0.0.1:16686
{{- end -}}
{{- end }}
