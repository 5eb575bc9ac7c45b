{{- /* A container that joins the mesh as the operator's workload, arguments: root, more (environment). */ -}}
{{- define "meshmart.operator" -}}
{{- $values := .root.Values -}}
{{ include "meshmart.ours" .root }}
env:
  {{- include "meshmart.replicaEnv" .root | nindent 2 }}
  {{- $env := include "meshmart.meshEnv" (dict "root" .root "name" "client") | fromYaml }}
  {{- $_ := set $env "MESH_IDENTITY_DIRECTORY" "/var/run/mesh/certs/client" }}
  {{- $_ = set $env "MESH_HEALTH_ADDRESS" (printf "%s:50052" $values.bindAddress) }}
  {{- /* No admin page: each command that runs in the pod would want the port. */}}
  {{- $_ = set $env "MESH_ADMIN_ADDRESS" "" }}
  {{- include "meshmart.env" (mergeOverwrite $env .more) | trim | nindent 2 }}
  {{- include "meshmart.databaseEnv" .root | nindent 2 }}
volumeMounts:
  - {name: client, mountPath: /var/run/mesh/certs/client, readOnly: true}
  - {name: outsider, mountPath: /var/run/mesh/certs/outsider, readOnly: true}
  - {name: tmp, mountPath: /tmp}
  {{- include "meshmart.bundleMount" .root | trim | nindent 2 }}
  {{- include "meshmart.databaseMounts" .root | trim | nindent 2 }}
{{- end }}

{{- define "meshmart.operatorVolumes" -}}
- name: client
  secret: {secretName: {{ include "meshmart.tlsSecret" (dict "root" . "name" "client") }}}
- name: outsider
  secret: {secretName: {{ include "meshmart.tlsSecret" (dict "root" . "name" "outsider") }}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- include "meshmart.bundleVolume" . }}
{{ include "meshmart.databaseVolumes" . | trim }}
{{- end }}
