{{- /* What values.schema.json cannot say: values that contradict each other. Each template gives a list of lines
       as YAML, each beginning with the value's path. templates/checks.yaml refuses them all at once. */ -}}

{{- /* Seconds of a Go duration such as 1h30m. */ -}}
{{- define "meshmart.seconds" -}}
{{- $units := dict "h" 3600.0 "m" 60.0 "s" 1.0 "ms" 0.001 -}}
{{- $sum := 0.0 -}}
{{- range regexFindAll "[0-9.]+(ms|h|m|s)" . -1 -}}
{{- $sum = addf $sum (mulf (regexFind "[0-9.]+" . | float64) (get $units (regexFind "[a-z]+" .))) -}}
{{- end -}}
{{- $sum -}}
{{- end }}

{{- /* The number of a quantity such as 250m or 96Mi. */ -}}
{{- define "meshmart.amount" -}}
{{- $units := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 -}}
{{- $text := toString . -}}
{{- mulf (regexFind "^[0-9.]+" $text | float64) (get $units (regexFind "[a-zA-Z]*$" $text)) -}}
{{- end }}

{{- define "meshmart.identityProblems" -}}
{{- $tls := .Values.tls }}{{ $problems := list -}}
{{- $life := include "meshmart.seconds" $tls.duration | float64 -}}
{{- $before := include "meshmart.seconds" $tls.renewBefore | float64 -}}
{{- if ne $tls.mode "existing-secret" -}}
{{- /* What cert-manager's own webhook refuses: an hour, and five minutes. */ -}}
{{- if lt $life 3600.0 -}}
{{- $problems = append $problems (printf "tls.duration: %s is less than 1h, the shortest that cert-manager issues" $tls.duration) -}}
{{- end -}}
{{- if lt $before 300.0 -}}
{{- $problems = append $problems (printf "tls.renewBefore: %s is less than 5m, too little time to renew in" $tls.renewBefore) -}}
{{- end -}}
{{- if ge $before $life -}}
{{- $problems = append $problems (printf "tls.renewBefore: %s is not less than tls.duration, %s" $tls.renewBefore $tls.duration) -}}
{{- end -}}
{{- if and (not $tls.issuerRef.name) (ge $life (include "meshmart.seconds" $tls.ca.duration | float64)) -}}
{{- $problems = append $problems (printf "tls.ca.duration: %s is not more than tls.duration, %s: certificates would outlive their CA" $tls.ca.duration $tls.duration) -}}
{{- end -}}
{{- end -}}
{{- if and $tls.issuerRef.name (ne $tls.mode "cert-manager") -}}
{{- $problems = append $problems (printf "tls.issuerRef.name: is for tls.mode cert-manager, not %s" $tls.mode) -}}
{{- end -}}
{{- if and (ne (int $tls.ca.generation) 1) (or (ne $tls.mode "cert-manager") $tls.issuerRef.name) -}}
{{- $problems = append $problems "tls.ca.generation: is of the chart's own CA with tls.mode cert-manager" -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end }}

{{- define "meshmart.telemetryProblems" -}}
{{- $problems := list -}}
{{- if and .Values.otlp.metrics (not .Values.otlp.endpoint) -}}
{{- $problems = append $problems "otlp.metrics: needs otlp.endpoint, as the bundled Jaeger takes no metrics" -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end }}

{{- /* The syntax, and what is where. What the entries mean, the processes say when they load it. */ -}}
{{- define "meshmart.policyProblems" -}}
{{- $problems := list -}}
{{- $callers := concat (keys .Values.services) (list "client" "console" "outsider") | sortAlpha -}}
{{- with .Values.policy.text -}}
{{- $policy := fromToml . -}}
{{- $error := get $policy "Error" -}}
{{- if and $error (kindIs "string" $error) -}}
{{- $problems = append $problems (printf "policy.text: is no TOML: %s" $error) -}}
{{- else -}}
{{- range $section, $_ := omit $policy "allow" "users" -}}
{{- $problems = append $problems (printf "policy.text: unknown section %s; there are allow and users" $section) -}}
{{- end -}}
{{- if not (kindIs "slice" (get $policy "allow" | default list)) -}}
{{- $problems = append $problems "policy.text: allow must be a list: [[allow]]" -}}
{{- else -}}
{{- range $index, $entry := get $policy "allow" | default list -}}
{{- if or (not (kindIs "slice" (get $entry "from"))) (not (kindIs "slice" (get $entry "methods"))) (omit $entry "from" "methods") -}}
{{- $problems = append $problems (printf "policy.text: [[allow]] number %d: needs the lists from and methods, and nothing else" (add1 $index)) -}}
{{- else -}}
{{- range get $entry "methods" -}}
{{- if not (regexMatch "^[A-Za-z_][A-Za-z0-9_.]*/([*]|[A-Za-z_][A-Za-z0-9_]*)$" (toString .)) -}}
{{- $problems = append $problems (printf "policy.text: [[allow]] number %d: %s is neither package.Service/Method nor package.Service/*" (add1 $index) .) -}}
{{- end -}}
{{- end -}}
{{- range get $entry "from" -}}
{{- if not (or (has (toString .) $callers) (hasPrefix "spiffe://" (toString .))) -}}
{{- $problems = append $problems (printf "policy.text: [[allow]] number %d: there is no service %s; there are %s, and SPIFFE ids" (add1 $index) . (join ", " $callers)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end }}

{{- define "meshmart.databaseProblems" -}}
{{- $problems := list -}}
{{- $database := .Values.database -}}
{{- $certificates := or $database.tls.caSecret $database.tls.caConfigMap $database.tls.clientSecret -}}
{{- if and (eq (toString $database.roles) "true") (not .Values.migrations.enabled) -}}
{{- $problems = append $problems "database.roles: are made by the migrations, which migrations.enabled switches off" -}}
{{- end -}}
{{- if not .Values.migrations.enabled -}}
{{- if .Values.seed.demoUsers -}}
{{- $problems = append $problems "seed.demoUsers: are made by the migrations, which migrations.enabled switches off" -}}
{{- end -}}
{{- if .Values.seed.firstAdminSecret -}}
{{- $problems = append $problems "seed.firstAdminSecret: is read by the migrations, which migrations.enabled switches off" -}}
{{- end -}}
{{- end -}}
{{- if $database.existingSecret -}}
{{- if .Values.postgres.password -}}
{{- $problems = append $problems "postgres.password: is of the bundled PostgreSQL, which database.existingSecret replaces" -}}
{{- end -}}
{{- if and $database.tls.caSecret $database.tls.caConfigMap -}}
{{- $problems = append $problems "database.tls: name caSecret or caConfigMap, not both" -}}
{{- end -}}
{{- else -}}
{{- if $certificates -}}
{{- $problems = append $problems "database.tls: is for a database of your own; name it in database.existingSecret" -}}
{{- end -}}
{{- if ne (int $database.port) 5432 -}}
{{- $problems = append $problems "database.port: is for a database of your own; name it in database.existingSecret" -}}
{{- end -}}
{{- $taken := 3 -}}
{{- range $name, $spec := include "meshmart.services" . | fromYaml -}}
{{- if $spec.database -}}
{{- $taken = add $taken (mul 4 (ternary $spec.autoscaling.maxReplicas $spec.replicas $spec.autoscaling.enabled)) -}}
{{- end -}}
{{- end -}}
{{- if gt (int $taken) (int .Values.postgres.maxConnections) -}}
{{- $problems = append $problems (printf "postgres.maxConnections: %d is less than the %d that this many pods take, 4 each and 3 for the superuser" (int .Values.postgres.maxConnections) (int $taken)) -}}
{{- end -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end }}

{{- /* Where others come in: pages, scrapers, the operator. */ -}}
{{- define "meshmart.edgeProblems" -}}
{{- $problems := list -}}
{{- $services := include "meshmart.services" . | fromYaml -}}
{{- if .Values.ingress.enabled -}}
{{- if not (dig "storefront" "web" false $services) -}}
{{- $problems = append $problems "ingress.enabled: there is no storefront to send visitors to (services.storefront)" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.monitoring.podMonitor.enabled .Values.monitoring.serviceMonitor.enabled -}}
{{- $problems = append $problems "monitoring.serviceMonitor.enabled: with monitoring.podMonitor every series would be there twice" -}}
{{- end -}}
{{- if ne (empty .Values.tests.user) (empty .Values.tests.password) -}}
{{- $problems = append $problems "tests.user: goes with tests.password" -}}
{{- end -}}
{{- range $which, $labels := dict "podMonitor" .Values.monitoring.podMonitor.labels "serviceMonitor" .Values.monitoring.serviceMonitor.labels "prometheusRule" .Values.monitoring.prometheusRule.labels "dashboards" .Values.monitoring.dashboards.labels -}}
{{- range $key, $_ := $labels -}}
{{- if has $key (include "meshmart.ownLabels" $ | fromYamlArray) -}}
{{- $problems = append $problems (printf "monitoring.%s.labels: %s is set by the chart" $which $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end }}

{{- define "meshmart.ownLabels" -}}
{{- $own := include "meshmart.labels" (dict "root" . "name" "x" "component" "x") | fromYaml -}}
{{- toYaml (keys $own) -}}
{{- end }}

{{- /* Of every container: no more requested than allowed. */ -}}
{{- define "meshmart.resourceProblems" -}}
{{- $problems := list -}}
{{- $all := dict -}}
{{- range $name, $spec := include "meshmart.services" . | fromYaml -}}
{{- $_ := set $all (printf "services.%s" $name) $spec.resources -}}
{{- end -}}
{{- range $name := list "postgres" "migrations" "jaeger" "prometheus" "grafana" "toolbox" "console" -}}
{{- $_ := set $all $name (get (get $.Values $name) "resources") -}}
{{- end -}}
{{- range $path, $resources := $all -}}
{{- range $what, $limit := $resources.limits -}}
{{- $request := get ($resources.requests | default dict) $what -}}
{{- if and $request $limit (gt (include "meshmart.amount" $request | float64) (include "meshmart.amount" $limit | float64)) -}}
{{- $problems = append $problems (printf "%s.resources: requests.%s, %v, is more than limits.%s, %v" $path $what $request $what $limit) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $problems -}}
{{- end }}
