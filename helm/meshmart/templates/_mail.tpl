{{- /* The mail system, for the service that sends the shop's letters. */ -}}

{{- define "meshmart.mailEnv" -}}
{{- with .Values.mail -}}
{{- if .host -}}
MESHMART_SMTP_HOST: {{ .host | quote }}
MESHMART_SMTP_PORT: {{ .port | quote }}
MESHMART_SMTP_TLS: {{ .tls | quote }}
MESHMART_SMTP_FROM: {{ .from | quote }}
{{- if .user }}
MESHMART_SMTP_USER: {{ .user | quote }}
MESHMART_SMTP_PASSWORD_FILE: /var/run/meshmart/mail/password
{{- end }}
{{- if .caSecret }}
MESHMART_SMTP_CA_FILE: /var/run/meshmart/mail-ca/ca.crt
{{- end }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "meshmart.mailMounts" -}}
{{- with .Values.mail }}
{{- if .passwordSecret }}
- {name: mail, mountPath: /var/run/meshmart/mail, readOnly: true}
{{- end }}
{{- if .caSecret }}
- {name: mail-ca, mountPath: /var/run/meshmart/mail-ca, readOnly: true}
{{- end }}
{{- end }}
{{- end }}

{{- define "meshmart.mailVolumes" -}}
{{- with .Values.mail }}
{{- if .passwordSecret }}
- name: mail
  secret: {secretName: {{ .passwordSecret }}, items: [{key: password, path: password}]}
{{- end }}
{{- if .caSecret }}
- name: mail-ca
  secret: {secretName: {{ .caSecret }}, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- end }}
{{- end }}

{{- define "meshmart.mailEgress" -}}
{{- if .Values.mail.host }}
# The mail system.
- ports: [{port: {{ .Values.mail.port }}}]
  {{- with .Values.networkPolicy.mailTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "meshmart.mailProblems" -}}
{{- $problems := list -}}
{{- with .Values.mail -}}
{{- if .host -}}
{{- if not .from -}}
{{- $problems = append $problems "mail.from: must say whom letters are from" -}}
{{- end -}}
{{- if ne (empty .user) (empty .passwordSecret) -}}
{{- $problems = append $problems "mail.user: goes with mail.passwordSecret; give both, or neither" -}}
{{- end -}}
{{- if and (not .caSecret) (ne .tls "none") -}}
{{- $problems = append $problems "mail.caSecret: must be given with TLS, as the image has no certificate authorities" -}}
{{- end -}}
{{- if and .user (eq .tls "none") -}}
{{- $problems = append $problems "mail.tls: none would send the password of mail.user in the clear" -}}
{{- end -}}
{{- else if or .from .user .passwordSecret .caSecret -}}
{{- $problems = append $problems "mail.host: must be given with the rest of mail" -}}
{{- end -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end }}
