{{/*
dask.pod: the fields metadata and spec of a scheduler, worker or job, those that are not empty.
  {{- include "dask.pod" (dict "path" $path "container" "worker" "values" $worker "image" "" "pullPolicy" "" "pullSecrets" $secrets "podTemplates" $list) | nindent 4 }}
What is left out here is filled in by the controller: image, command, ports, probes.
*/}}
{{- define "dask.pod" -}}
{{- $container := dict -}}
{{- include "dask.container" (merge (dict "out" $container) .) -}}
{{- $_ := set $container "name" (include "dask.mainName" (dict "path" .path "container" .container "own" $container "podTemplates" .podTemplates)) -}}
{{- $spec := dict "containers" (list $container) -}}
{{- with .pullSecrets -}}{{- $_ := set $spec "imagePullSecrets" . -}}{{- end -}}
{{- $pod := dict "metadata" dict "spec" (deepCopy $spec) -}}
{{- range .podTemplates -}}
{{- include "dask.layTemplate" (dict "path" $.path "pod" $pod "own" $spec "template" (. | default dict)) -}}
{{- end -}}
{{- include "dask.checkAllMetadata" (dict "path" (printf "%s.podTemplate.metadata" .path) "metadata" $pod.metadata) -}}
{{- range $pod.spec.containers -}}
{{- if eq .name $container.name -}}
{{- include "dask.checkMain" (dict "path" $.path "container" $.container "values" $.values "own" $container "main" . "nearest" (last $.podTemplates)) -}}
{{- end -}}
{{- end -}}
{{- $secrets := dict "items" (.pullSecrets | default list) -}}
{{- if and $secrets.items (hasKey $pod.spec "imagePullSecrets") -}}
{{- include "dask.mergeList" (dict "list" $secrets "from" $pod.spec.imagePullSecrets "by" "name" "of" "imagePullSecrets") -}}
{{- $_ := set $pod.spec "imagePullSecrets" $secrets.items -}}
{{- end -}}
{{- /* Dask's container alone, with nothing but its name, says nothing. */ -}}
{{- if eq (toJson $pod.spec.containers) (toJson (list (dict "name" .container))) -}}
{{- $_ := unset $pod.spec "containers" -}}
{{- end -}}
{{- range $key := list "metadata" "spec" -}}
{{- if not (get $pod $key) -}}{{- $_ := unset $pod $key -}}{{- end -}}
{{- end -}}
{{- with $pod -}}{{- toYaml . -}}{{- end -}}
{{- end -}}

{{/*
dask.layTemplate: lays .template over .pod, in place. Null takes away what lower ones say, never .own: what the values make of the spec.
*/}}
{{- define "dask.layTemplate" -}}
{{- $spec := get .template "spec" | default dict -}}
{{- if and (hasKey .template "metadata") (not .template.metadata) -}}{{- $_ := set .pod "metadata" dict -}}{{- end -}}
{{- if and (hasKey .template "spec") (kindIs "invalid" .template.spec) -}}{{- $_ := set .pod "spec" (deepCopy .own) -}}{{- end -}}
{{- if and (hasKey $spec "containers") (kindIs "invalid" $spec.containers) -}}
{{- $_ := set .pod.spec "containers" (deepCopy .own.containers) -}}
{{- $spec = omit $spec "containers" -}}
{{- end -}}
{{- include "dask.merge" (dict "into" .pod.metadata "from" (get .template "metadata" | default dict)) -}}
{{- include "dask.merge" (dict "into" .pod.spec "from" $spec) -}}
{{- $own := first .own.containers -}}
{{- $found := false -}}
{{- range .pod.spec.containers -}}
{{- if not .name -}}
{{- fail (printf "%s.podTemplate.spec.containers: a container has no name; Dask's own is called %s here" $.path $own.name) -}}
{{- end -}}
{{- if eq (toString .name) (toString $own.name) -}}{{- $found = true -}}{{- end -}}
{{- end -}}
{{- if not $found -}}
{{- fail (printf "%s.podTemplate.spec.containers: %s is the container that runs Dask, it cannot be taken away" $.path $own.name) -}}
{{- end -}}
{{- end -}}

{{/*
dask.mainName: what the container is called that the values are about: .container, unless the templates call the one that starts Dask
(or, of a job, the program) otherwise. .own is what the values say of it.
*/}}
{{- define "dask.mainName" -}}
{{- $all := dict -}}
{{- range .podTemplates -}}
  {{- $spec := get (. | default dict) "spec" | default dict -}}
  {{- if or (and (hasKey (. | default dict) "spec") (not $spec)) (and (hasKey $spec "containers") (not $spec.containers)) -}}
    {{- $all = dict -}}
  {{- end -}}
  {{- range $spec.containers -}}
    {{- $name := toString .name -}}
    {{- if eq (toString (get . "$patch")) "delete" -}}
      {{- $_ := unset $all $name -}}
    {{- else -}}
      {{- $_ := set $all $name (merge (pick . "command" "args" "image") (get $all $name | default dict)) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- $starting := list -}}
{{- if not (hasKey $all .container) -}}
  {{- range $name, $words := $all -}}
    {{- if eq $.container "job" -}}
      {{- if eq $name "runner" -}}{{- $starting = append $starting $name -}}{{- end -}}
    {{- else -}}
      {{- $program := dict -}}
      {{- include "dask.program" (dict "command" $words.command "args" $words.args "component" $.container "out" $program) -}}
      {{- if $program.starts -}}{{- $starting = append $starting $name -}}{{- end -}}
    {{- end -}}
  {{- end -}}
  {{- if and (eq .container "job") (not $starting) (eq (len $all) 1) (not (or .own.args .own.command)) -}}
    {{- /* Two images are those of two containers. */ -}}
    {{- if not (and .own.image (first (values $all)).image) -}}{{- $starting = keys $all -}}{{- end -}}
  {{- end -}}
{{- end -}}
{{- if gt (len $starting) 1 -}}
{{- fail (printf "%s.podTemplate.spec.containers: %s start Dask; call the one that is meant %s" .path (join " and " (sortAlpha $starting)) .container) -}}
{{- end -}}
{{- first (append $starting .container) -}}
{{- end -}}
