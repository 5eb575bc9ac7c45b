{{- /* Contradictions in `services` (see _checks.tpl). */ -}}

{{- define "meshmart.serviceProblems" -}}
{{- $problems := list -}}
{{- $services := include "meshmart.services" . | fromYaml -}}
{{- $tlsSecrets := dict -}}
{{- range $name, $spec := $services -}}
{{- $path := printf "services.%s" $name -}}
{{- $problems = concat $problems (include "meshmart.callProblems" (dict "root" $ "path" $path "spec" $spec "services" $services) | fromYamlArray) -}}
{{- $problems = concat $problems (include "meshmart.scaleProblems" (dict "path" $path "spec" $spec) | fromYamlArray) -}}
{{- $problems = concat $problems (include "meshmart.labelProblems" (dict "root" $ "path" $path "spec" $spec) | fromYamlArray) -}}
{{- $problems = concat $problems (include "meshmart.envProblems" (dict "root" $ "path" $path "name" $name "spec" $spec) | fromYamlArray) -}}
{{- if and (eq $spec.component "load") (not $.Values.seed.demoUsers) (or (gt (int $spec.replicas) 0) $spec.autoscaling.enabled) -}}
{{- $scenario := default "mix" (get $spec.env "MESHMART_LOAD_SCENARIO") -}}
{{- if not (has $scenario (list "view" "catalogue" "browse" "search")) -}}
{{- $problems = append $problems (printf "%s.replicas: %s logs in as the demo users, whom only seed.demoUsers makes; in env, MESHMART_LOAD_SCENARIO browse needs nobody" $path $scenario) -}}
{{- end -}}
{{- end -}}
{{- $problems = concat $problems (include "meshmart.roleProblems" (dict "path" $path "name" $name "spec" $spec) | fromYamlArray) -}}
{{- if ne $spec.web (eq $spec.component "web") -}}
{{- $problems = append $problems (printf "%s.web: must be true with component web, and false with any other" $path) -}}
{{- end -}}
{{- with $spec.tlsSecret -}}
{{- if ne $.Values.tls.mode "existing-secret" -}}
{{- $problems = append $problems (printf "%s.tlsSecret: is for tls.mode existing-secret, not %s" $path $.Values.tls.mode) -}}
{{- else if hasKey $tlsSecrets . -}}
{{- $problems = append $problems (printf "%s.tlsSecret: %s is the certificate of %s; each service has an identity of its own" $path . (get $tlsSecrets .)) -}}
{{- end -}}
{{- $_ := set $tlsSecrets . $path -}}
{{- end -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end }}

{{- /* The module of a service, and the services that it calls. */ -}}
{{- define "meshmart.callProblems" -}}
{{- $problems := list -}}
{{- $shop := (include "meshmart.shop" . | fromYaml).services -}}
{{- if and (not .spec.module) (not (has (trimPrefix "services." .path) $shop)) -}}
{{- $problems = append $problems (printf "%s: the shop has no such service; it has %s. One of your own needs module" .path (join ", " (sortAlpha $shop))) -}}
{{- end -}}
{{- range .spec.calls -}}
{{- if not (hasKey $.services .) -}}
{{- $problems = append $problems (printf "%s.calls: %s is switched off (services.%s.enabled)" $.path . .) -}}
{{- end -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end }}

{{- /* What the shop's own services are and need, whatever the values say. */ -}}
{{- define "meshmart.roleProblems" -}}
{{- $problems := list -}}
{{- $shop := include "meshmart.shop" . | fromYaml -}}
{{- if and .spec.signingKeys (not (has .name $shop.signing)) -}}
{{- $problems = append $problems (printf "%s.signingKeys: only the %s service signs tokens" .path (join ", " $shop.signing)) -}}
{{- end -}}
{{- if and (has .name $shop.signing) (not .spec.signingKeys) -}}
{{- $problems = append $problems (printf "%s.signingKeys: must be true, since this service signs the tokens" .path) -}}
{{- end -}}
{{- if and (not .spec.database) (has .name $shop.storing) -}}
{{- $problems = append $problems (printf "%s.database: must be true, since this service keeps its data there" .path) -}}
{{- end -}}
{{- if gt (float64 .spec.drain.streamGrace) (float64 .spec.drain.grace) -}}
{{- $problems = append $problems (printf "%s.drain.streamGrace: %v is more than drain.grace, %v" .path .spec.drain.streamGrace .spec.drain.grace) -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end }}

{{- define "meshmart.scaleProblems" -}}
{{- $problems := list -}}
{{- $scaling := .spec.autoscaling -}}
{{- if $scaling.enabled -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- $problems = append $problems (printf "%s.autoscaling.minReplicas: %d is more than maxReplicas, %d" .path (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- end -}}
{{- if not (dig "requests" "cpu" "" .spec.resources) -}}
{{- $problems = append $problems (printf "%s.autoscaling.enabled: needs resources.requests.cpu, of which it is told the percentage" .path) -}}
{{- end -}}
{{- end -}}
{{- $seen := dict -}}
{{- range .spec.topologySpread -}}
{{- $pair := printf "%s %s" .topologyKey .whenUnsatisfiable -}}
{{- if hasKey $seen $pair -}}
{{- $problems = append $problems (printf "%s.topologySpread: %s is there twice" $.path $pair) -}}
{{- end -}}
{{- $_ := set $seen $pair true -}}
{{- if and .minDomains (ne .whenUnsatisfiable "DoNotSchedule") -}}
{{- $problems = append $problems (printf "%s.topologySpread: minDomains needs whenUnsatisfiable DoNotSchedule" $.path) -}}
{{- end -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end }}

{{- /* Keys that the chart sets itself would be in the pod twice. */ -}}
{{- define "meshmart.labelProblems" -}}
{{- $problems := list -}}
{{- range $key, $_ := .spec.podLabels -}}
{{- if or (has $key (include "meshmart.ownLabels" $.root | fromYamlArray)) (eq $key "pod-template-hash") -}}
{{- $problems = append $problems (printf "%s.podLabels: %s is set by the chart" $.path $key) -}}
{{- end -}}
{{- end -}}
{{- range $key, $_ := .spec.podAnnotations -}}
{{- if eq $key "kubectl.kubernetes.io/default-container" -}}
{{- $problems = append $problems (printf "%s.podAnnotations: %s is set by the chart" $.path $key) -}}
{{- end -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end }}

{{- /* `env` may replace what the chart sets; what comes from elsewhere, and the long form, must not double it. */ -}}
{{- define "meshmart.envProblems" -}}
{{- $problems := list -}}
{{- $elsewhere := list "MESH_REPLICA" "MESH_ZONE" -}}
{{- if .spec.database -}}
{{- range include "meshmart.databaseEnv" .root | fromYamlArray }}{{ $elsewhere = append $elsewhere .name }}{{ end -}}
{{- end -}}
{{- range $key, $_ := .spec.env -}}
{{- if has $key $elsewhere -}}
{{- $problems = append $problems (printf "%s.env: %s is set by the chart" $.path $key) -}}
{{- end -}}
{{- end -}}
{{- $plain := mergeOverwrite (include "meshmart.meshEnv" (dict "root" .root "name" .name) | fromYaml) (include "meshmart.serviceEnv" (dict "root" .root "spec" .spec) | fromYaml) .spec.env -}}
{{- $taken := concat $elsewhere (keys $plain) -}}
{{- range .spec.extraEnv -}}
{{- if has .name $taken -}}
{{- $problems = append $problems (printf "%s.extraEnv: %s is there already; a plain value goes into env" $.path .name) -}}
{{- end -}}
{{- $taken = append $taken .name -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end }}
