{{/*
dask.container: puts into .out what the values of a scheduler, worker or job say about its container, without its name.
*/}}
{{- define "dask.container" -}}
{{- $container := .out -}}
{{- with .image -}}{{- $_ := set $container "image" . -}}{{- end -}}
{{- with .pullPolicy -}}{{- $_ := set $container "imagePullPolicy" . -}}{{- end -}}
{{- with .values.resources -}}{{- $_ := set $container "resources" . -}}{{- end -}}
{{- $args := list -}}
{{- if hasKey .values "nthreads" -}}
{{- $args = concat $args (list "--nthreads" (toJson .values.nthreads)) -}}
{{- end -}}
{{- /* With threads given, Dask would take only their share among the CPUs of the node. */ -}}
{{- $memory := get .values "memoryLimit" -}}
{{- if and $args (not (hasKey .values "memoryLimit")) -}}
{{- $memory = dig "limits" "memory" "" (.values.resources | default dict) -}}
{{- end -}}
{{- if $memory -}}
{{- $args = concat $args (list "--memory-limit" (ternary $memory (toJson $memory) (kindIs "string" $memory))) -}}
{{- end -}}
{{- with $args -}}
{{- $_ := set $container "args" (concat (list "dask" "worker" "--name" "$(DASK_WORKER_NAME)" "--dashboard-address" ":8788") .) -}}
{{- end -}}
{{- with .values.command -}}{{- $_ := set $container "command" . -}}{{- end -}}
{{- with .values.args -}}{{- $_ := set $container "args" . -}}{{- end -}}
{{- $env := list -}}
{{- range $name, $value := .values.env -}}
  {{- if kindIs "map" $value -}}
    {{- $variable := dict "name" $name -}}
    {{- include "dask.merge" (dict "into" $variable "from" $value) -}}
    {{- $env = append $env $variable -}}
  {{- else -}}
    {{- $env = append $env (dict "name" $name "value" (ternary $value (toJson $value) (kindIs "string" $value))) -}}
  {{- end -}}
{{- end -}}
{{- with $env -}}{{- $_ := set $container "env" . -}}{{- end -}}
{{- end -}}

{{/*
dask.worker: the body of spec.worker. `replicas: external`, like no replicas at all, leaves the field out.
*/}}
{{- define "dask.worker" -}}
{{- $replicas := get .values "replicas" -}}
{{- if and (hasKey .values "replicas") (ne (toString $replicas) "external") }}
replicas: {{ toJson $replicas }}
{{- end }}
{{- with .values.daskResources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{ include "dask.pod" (merge (dict "container" "worker") .) }}
{{- end -}}
