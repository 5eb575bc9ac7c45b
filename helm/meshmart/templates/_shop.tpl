{{- /* Written by `make manifests` from the manifests of the services. */ -}}

{{- define "meshmart.shop" -}}
services: ["product", "order", "payment", "user", "notification", "chat", "analytics", "loadgen", "storefront"]
storing: ["product", "order", "payment", "user", "notification", "chat", "analytics"]
signing: ["user"]
{{- end }}
