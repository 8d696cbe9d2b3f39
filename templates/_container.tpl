{{/*
dask.container: puts into .out what the values of a scheduler, worker or job say about its container, without its name.
*/}}
{{- define "dask.container" -}}
{{- $container := .out -}}
{{- with .image -}}{{- $_ := set $container "image" . -}}{{- end -}}
{{- with .pullPolicy -}}{{- $_ := set $container "imagePullPolicy" . -}}{{- end -}}
{{- with .values.resources -}}{{- $_ := set $container "resources" . -}}{{- end -}}
{{- $args := dict "items" list -}}
{{- include "dask.args" (dict "container" .container "values" .values "out" $args) -}}
{{- with .values.command -}}{{- $_ := set $container "command" . -}}{{- end -}}
{{- with .values.args | default $args.items -}}{{- $_ := set $container "args" . -}}{{- end -}}
{{- $env := dict -}}
{{- include "dask.env" (dict "path" .path "env" .values.env "out" $env) -}}
{{- with $env.items -}}{{- $_ := set $container "env" . -}}{{- end -}}
{{- end -}}

{{/*
dask.args: puts into .out.items the words that start a scheduler or worker as the values say; none where they say nothing of it, which leaves them
to the controller.
*/}}
{{- define "dask.args" -}}
{{- $args := list -}}
{{- $extra := .values.extraArgs | default list -}}
{{- if hasKey .values "nthreads" -}}
{{- $args = concat $args (list "--nthreads" (toJson .values.nthreads)) -}}
{{- end -}}
{{- /* With threads given, Dask would take only their share among the CPUs of the node. */ -}}
{{- $limit := dig "limits" "memory" "" (.values.resources | default dict) -}}
{{- if hasKey .values "memoryLimit" -}}
{{- $args = concat $args (list "--memory-limit" (ternary .values.memoryLimit (toJson .values.memoryLimit) (kindIs "string" .values.memoryLimit))) -}}
{{- else if and $args $limit -}}
{{- $args = concat $args (list "--memory-limit" (include "dask.memoryWord" $limit)) -}}
{{- end -}}
{{- with concat $args $extra -}}
{{- $start := list "dask" $.container -}}
{{- if eq $.container "worker" -}}
{{- $start = concat $start (list "--name" "$(DASK_WORKER_NAME)" "--dashboard-address" ":8788") -}}
{{- end -}}
{{- $_ := set $.out "items" (concat $start .) -}}
{{- end -}}
{{- end -}}

{{/*
dask.markInherited: puts into .values, of a scheduler or of workers, `inherited`: which of the words for Dask only the defaults say, not .declared.
*/}}
{{- define "dask.markInherited" -}}
{{- $keys := list -}}
{{- range $key := list "nthreads" "memoryLimit" "extraArgs" -}}
{{- if and (hasKey ($.values | default dict) $key) (not (hasKey ($.declared | default dict) $key)) -}}{{- $keys = append $keys $key -}}{{- end -}}
{{- end -}}
{{- if $keys -}}{{- $_ := set .values "inherited" $keys -}}{{- end -}}
{{- end -}}

{{/*
dask.checkMain: .main, the finished container that runs Dask, is what the values say. A command that is Dask's program takes the place of the
words that are. `args` of a podTemplate would take all of them away, as would a command with a text for a shell: the nearer source has the
last word, so these are no contradiction where only the defaults say those words and .nearest, the last podTemplate, does not come from there.
*/}}
{{- define "dask.checkMain" -}}
{{- $nearest := dict -}}
{{- range (get (.nearest | default dict) "spec" | default dict).containers -}}
{{- if eq (toString .name) (toString $.main.name) -}}{{- $nearest = . -}}{{- end -}}
{{- end -}}
{{- $program := dict -}}
{{- include "dask.program" (dict "command" .main.command "args" list "component" "(?:worker|scheduler)" "out" $program) -}}
{{- $replaced := ne (toJson (.main.args | default list)) (toJson (.own.args | default list)) -}}
{{- $outdone := or $nearest.args (and $nearest.command $program.deaf) -}}
{{- $said := list -}}
{{- range $key := list "nthreads" "memoryLimit" "extraArgs" -}}
{{- $is := and (hasKey $.values $key) (ne $.container "job") (ne (toJson (get $.values $key)) "[]") -}}
{{- if and $is (not (and $outdone (has $key ($.values.inherited | default list)))) -}}{{- $said = append $said $key -}}{{- end -}}
{{- end -}}
{{- if $said -}}
{{- if $replaced -}}
{{- fail (printf "%s, with its defaults: the args of podTemplate would replace what %s say; say it there and take it away here (%s: null), or give extraArgs instead of args" .path (join ", " $said) (join ": null, " $said)) -}}
{{- end -}}
{{- if and .main.args $program.deaf -}}
{{- fail (printf "%s, with its defaults: a text for a shell, in the command of podTemplate, would not see what %s say; say it in the text and take it away here (%s: null)" .path (join ", " $said) (join ": null, " $said)) -}}
{{- end -}}
{{- if and .main.args $program.behind -}}
{{- $_ := set .main "args" (slice .main.args 2) -}}
{{- end -}}
{{- end -}}
{{- $amounts := dict "path" .path "resources" .main.resources -}}
{{- if and (hasKey .values "memoryLimit") (has "memoryLimit" $said) -}}{{- $_ := set $amounts "memoryLimit" .values.memoryLimit -}}{{- end -}}
{{- include "dask.checkAmounts" $amounts -}}
{{- end -}}

{{/*
dask.worker: the body of spec.worker. `replicas: external`, like no replicas at all, leaves the field out.
*/}}
{{- define "dask.worker" -}}
{{- $replicas := get .values "replicas" -}}
{{- include "dask.checkKeys" (dict "path" (printf "%s.daskResources" .path) "values" .values.daskResources) -}}
{{- if and (hasKey .values "replicas") (ne (toString $replicas) "external") }}
replicas: {{ toJson $replicas }}
{{- end }}
{{- with .values.daskResources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{ include "dask.pod" (merge (dict "container" "worker") .) }}
{{- end -}}
