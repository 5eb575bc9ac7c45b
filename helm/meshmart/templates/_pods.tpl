{{- /* Parts of pods. The restricted Pod Security Standard holds for all of them, and is no value. */ -}}

{{- define "meshmart.podSecurity" -}}
runAsNonRoot: true
{{- with .user }}
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "meshmart.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* Of a pod: argument root. */ -}}
{{- define "meshmart.podBasics" -}}
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* A container of our image: image, pull policy, security. */ -}}
{{- define "meshmart.ours" -}}
image: {{ include "meshmart.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- include "meshmart.containerSecurity" . | nindent 2 }}
{{- end }}

{{- /* MESH_* of every member of the mesh, arguments: root, name. */ -}}
{{- define "meshmart.meshEnv" -}}
{{- $values := .root.Values -}}
MESH_SERVICE: {{ .name }}
MESH_NAMESPACE: {{ .root.Release.Namespace }}
MESH_CLUSTER_DOMAIN: {{ $values.clusterDomain }}
MESH_IDENTITY_TRUST_DOMAIN: {{ $values.trustDomain }}
# A suite that nobody can negotiate: of TLS below 1.3 there is none left (grpcmesh.grpc_environment).
GRPC_SSL_CIPHER_SUITES: ECDHE-PSK-CHACHA20-POLY1305
GRPC_ENABLE_FORK_SUPPORT: "0"
# A call costs an eighth less CPU with the grpcio that the image holds, 1.82; others do not know it.
GRPC_EXPERIMENTS: -event_engine_poller_for_python
# Asked this often although CoreDNS says 30 s: a new pod is used within five seconds.
MESH_RESOLVER_MAX_INTERVAL: "5"
MESH_TELEMETRY_SAMPLE_RATIO: {{ $values.otlp.sampleRatio | quote }}
{{- with include "meshmart.otlpEndpoint" .root }}
MESH_TELEMETRY_OTLP_ENDPOINT: {{ . | quote }}
{{- end }}
{{- if $values.otlp.metrics }}
MESH_TELEMETRY_OTLP_METRICS: "true"
{{- end }}
{{- if include "meshmart.bundleKey" .root }}
MESH_IDENTITY_BUNDLE: /var/run/mesh/bundle/{{ $values.tls.trustBundle.key }}
{{- end }}
{{- end }}

{{- /* A map as `env` entries, in the order of the names. */ -}}
{{- define "meshmart.env" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}

{{- /* Environment of a service, which logs in with its own role where it has one, arguments: root, name. */ -}}
{{- define "meshmart.serviceDatabaseEnv" -}}
{{- $secret := include "meshmart.databaseSecret" .root -}}
{{- if include "meshmart.databaseRoles" .root }}{{ $secret = printf "meshmart-database-%s" .name }}{{ end -}}
{{- include "meshmart.databaseEnvOf" (dict "root" .root "secret" $secret) }}
{{- end }}

{{- /* Of those who may do everything: migrations, and the operator. */ -}}
{{- define "meshmart.databaseEnv" -}}
{{- include "meshmart.databaseEnvOf" (dict "root" . "secret" (include "meshmart.databaseSecret" .)) }}
{{- end }}

{{- define "meshmart.databaseEnvOf" -}}
- name: MESHMART_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: url}}
{{- with .root.Values.database.tls }}
{{- if or .caSecret .caConfigMap }}
- {name: PGSSLROOTCERT, value: /var/run/meshmart/database-ca/{{ .caKey }}}
{{- end }}
{{- if .clientSecret }}
- {name: PGSSLCERT, value: /var/run/meshmart/database-client/tls.crt}
- {name: PGSSLKEY, value: /var/run/meshmart/database-client/tls.key}
{{- end }}
{{- end }}
{{- end }}

{{- define "meshmart.databaseMounts" -}}
{{- with .Values.database.tls }}
{{- if or .caSecret .caConfigMap }}
- {name: database-ca, mountPath: /var/run/meshmart/database-ca, readOnly: true}
{{- end }}
{{- if .clientSecret }}
- {name: database-client, mountPath: /var/run/meshmart/database-client, readOnly: true}
{{- end }}
{{- end }}
{{- end }}

{{- define "meshmart.databaseVolumes" -}}
{{- with .Values.database.tls }}
{{- if .caSecret }}
- name: database-ca
  secret: {secretName: {{ .caSecret }}}
{{- else if .caConfigMap }}
- name: database-ca
  configMap: {name: {{ .caConfigMap }}}
{{- end }}
{{- if .clientSecret }}
- name: database-client
  secret: {secretName: {{ .clientSecret }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "meshmart.replicaEnv" -}}
- name: MESH_REPLICA
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- /* Kubernetes 1.35 copies the label from the node to its pods; before, the variable is empty. */}}
- name: MESH_ZONE
  valueFrom: {fieldRef: {fieldPath: "metadata.labels['topology.kubernetes.io/zone']"}}
{{- end }}

{{- define "meshmart.bundleKey" -}}
{{- with .Values.tls.trustBundle }}{{ if or .configMap .secret }}{{ .key }}{{ end }}{{ end -}}
{{- end }}

{{- define "meshmart.bundleVolume" -}}
{{- with .Values.tls.trustBundle }}
{{- if .configMap }}
- name: bundle
  configMap: {name: {{ .configMap }}}
{{- else if .secret }}
- name: bundle
  secret: {secretName: {{ .secret }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "meshmart.bundleMount" -}}
{{- if include "meshmart.bundleKey" . }}
- {name: bundle, mountPath: /var/run/mesh/bundle, readOnly: true}
{{- end }}
{{- end }}

{{- /* A native gRPC probe, argument: periods and thresholds. */ -}}
{{- define "meshmart.grpcProbe" -}}
grpc: {port: 50052}
{{- toYaml . | nindent 0 }}
{{- end }}

{{- /* What an exit may take: preStop, NOT_SERVING, running calls, then again the pages' or a resource's grace. */ -}}
{{- define "meshmart.terminationGrace" -}}
{{- $needed := int (ceil (addf .spec.preStopSleep .spec.drain.delay .spec.drain.grace .spec.drain.grace 10.0)) -}}
{{- $given := .spec.terminationGracePeriodSeconds -}}
{{- if not $given -}}
{{ $needed }}
{{- else if lt (int $given) $needed -}}
{{- fail (printf "services.%s.terminationGracePeriodSeconds: %d is less than the %d seconds that an exit may take (preStopSleep + drain.delay + 2 x drain.grace + 10)" .name (int $given) $needed) -}}
{{- else -}}
{{ int $given }}
{{- end -}}
{{- end }}

{{- /* Startup, readiness and liveness over HTTP, for images that are not ours: path, port. */ -}}
{{- define "meshmart.httpProbes" -}}
startupProbe:
  httpGet: {path: {{ .path }}, port: {{ .port }}}
  periodSeconds: 1
  timeoutSeconds: 3
  failureThreshold: 120
readinessProbe:
  httpGet: {path: {{ .path }}, port: {{ .port }}}
  periodSeconds: 5
  timeoutSeconds: 3
livenessProbe:
  httpGet: {path: {{ .path }}, port: {{ .port }}}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}
