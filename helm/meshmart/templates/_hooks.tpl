{{- /* Jobs of ours that talk to the Kubernetes API. */ -}}

{{- /* Who they are and what they may, arguments: root, name, rules, annotations. */ -}}
{{- define "meshmart.hookAccount" -}}
{{- $labels := include "meshmart.labels" (dict "root" .root "name" .name "component" "job") }}
{{- $meta := dict "name" .name "namespace" .root.Release.Namespace "labels" ($labels | fromYaml) }}
{{- with .annotations }}{{ $_ := set $meta "annotations" . }}{{ end }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- toYaml $meta | nindent 2 }}
automountServiceAccountToken: false
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  {{- toYaml $meta | nindent 2 }}
rules:
  {{- toYaml .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  {{- toYaml $meta | nindent 2 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ .name }}}
subjects:
  - {kind: ServiceAccount, name: {{ .name }}, namespace: {{ .root.Release.Namespace }}}
{{- end }}

{{- /* A Job's spec, arguments: root, name, args; or else than usual: resources, deadline (seconds). */ -}}
{{- define "meshmart.hookJob" -}}
backoffLimit: 4
activeDeadlineSeconds: {{ .deadline | default 180 }}
# Should the one who waits for it go away. A day for a look at the log of one that failed.
ttlSecondsAfterFinished: 86400
template:
  metadata:
    labels:
      {{- include "meshmart.podLabels" (dict "root" .root "name" .name "component" "job") | nindent 6 }}
  spec:
    # A pod that failed stays until the job goes: its log says why.
    restartPolicy: Never
    serviceAccountName: {{ .name }}
    # Its work is done through the Kubernetes API.
    automountServiceAccountToken: true
    {{- include "meshmart.podBasics" .root | nindent 4 }}
    securityContext:
      {{- include "meshmart.podSecurity" (dict "user" .root.Values.runAsUser) | nindent 6 }}
    containers:
      - name: {{ .name }}
        {{- include "meshmart.ours" .root | nindent 8 }}
        args:
          {{- toYaml .args | nindent 10 }}
        resources:
          {{- toYaml (.resources | default .root.Values.migrations.resources) | nindent 10 }}
        volumeMounts:
          - {name: tmp, mountPath: /tmp}
    volumes:
      - name: tmp
        emptyDir: {sizeLimit: 64Mi}
{{- end }}
