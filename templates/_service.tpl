{{/*
dask.service: puts into .out {spec, metadata} what .values (scheduler.service) says about the scheduler's Service. Its ports are laid
over Dask's two by name: a list that says one port does not take the others away. Where none are said, they are the controller's.
*/}}
{{- define "dask.service" -}}
{{- $values := .values | default dict -}}
{{- $spec := dict -}}
{{- include "dask.merge" (dict "into" $spec "from" (omit $values "annotations" "labels" "ports")) -}}
{{- if hasKey $values "ports" -}}
{{- $ports := dict "items" (list (dict "name" "tcp-comm" "port" 8786) (dict "name" "http-dashboard" "port" 8787)) -}}
{{- include "dask.mergeList" (dict "list" $ports "from" $values.ports "by" "name" "of" "ports") -}}
{{- $_ := set $spec "ports" $ports.items -}}
{{- end -}}
{{- $metadata := dict -}}
{{- range $key := list "annotations" "labels" -}}
{{- with get $values $key -}}{{- $_ := set $metadata $key . -}}{{- end -}}
{{- end -}}
{{- $_ := set .out "spec" $spec -}}
{{- $_ := set .out "metadata" $metadata -}}
{{- end -}}

{{/*
dask.checkService: refuses ports that Kubernetes would refuse, or that nobody could connect to. .path is that of the Service's values.
*/}}
{{- define "dask.checkService" -}}
{{- $path := printf "%s.ports" .path -}}
{{- range (.values | default dict).ports -}}
{{- if not .name -}}
{{- fail (printf "%s: a port needs a name; tcp-comm (8786) and http-dashboard (8787) are Dask's, any other one is added to them" $path) -}}
{{- end -}}
{{- end -}}
{{- $service := dict -}}
{{- include "dask.service" (dict "values" .values "out" $service) -}}
{{- $seen := dict -}}
{{- range $service.spec.ports -}}
{{- if not .port -}}
{{- fail (printf "%s: %s has no port, give its number" $path .name) -}}
{{- end -}}
{{- $key := printf "%d/%s" (int64 .port) (.protocol | default "TCP") -}}
{{- if hasKey $seen $key -}}
{{- fail (printf "%s: %s and %s both mean port %s; to change one of Dask's ports, use its name" $path (get $seen $key) .name $key) -}}
{{- end -}}
{{- $_ := set $seen $key .name -}}
{{- end -}}
{{- if and (hasKey $service.spec "ports") (not (has "tcp-comm" (values $seen))) -}}
{{- fail (printf "%s: without tcp-comm no worker and no client reaches the scheduler" $path) -}}
{{- end -}}
{{- end -}}

{{/*
dask.checkHandedOn: refuses labels and annotations of a custom resource that are meant for a Service and would reach none, as
the controller hands on nothing of kubernetes.io. .path and .values are those of the cluster, group or job; .service is where they belong.
*/}}
{{- define "dask.checkHandedOn" -}}
{{- range $field := list "annotations" "labels" -}}
{{- range $key, $_ := get $.values $field | default dict -}}
{{- if regexMatch "^((service|external-dns)([.][^/]*)?|([^/]*[.])?load-?balancer([.][^/]*)?)[.](kubernetes|k8s|x-k8s)[.]io/" $key -}}
{{- $from := ternary $.path "defaults" (hasKey (get $.declared $field | default dict) $key) -}}
{{- fail (printf "%s.%s: %s is about a Service and would reach none; it belongs into %s.%s" $from $field $key $.service $field) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
