{{/*
dask.checkSaid: refuses with a sentence what people write where it does not belong, or call otherwise, in all values: also those of what is
disabled. The schema lets just these through.
*/}}
{{- define "dask.checkSaid" -}}
{{- $hints := include "dask.hints" . | fromJson -}}
{{- include "dask.checkPlace" (dict "hints" $hints "path" "" "values" . "places" (list "chart")) -}}
{{- include "dask.checkClusterSaid" (dict "hints" $hints "path" "defaults" "values" .defaults) -}}
{{- range $name, $cluster := .clusters -}}
{{- include "dask.checkClusterSaid" (dict "hints" $hints "path" (printf "clusters.%s" $name) "values" $cluster) -}}
{{- end -}}
{{- range $name, $job := .jobs -}}
{{- $path := printf "jobs.%s" $name -}}
{{- include "dask.checkPodSaid" (dict "hints" $hints "path" $path "values" $job "places" (list "job" "pod")) -}}
{{- include "dask.checkClusterSaid" (dict "hints" $hints "path" (printf "%s.cluster" $path) "values" ($job | default dict).cluster) -}}
{{- end -}}
{{- end -}}

{{/*
dask.checkClusterSaid: the same for the values of a cluster, of `defaults` or of a job's cluster.
*/}}
{{- define "dask.checkClusterSaid" -}}
{{- $values := .values | default dict -}}
{{- include "dask.checkPlace" (dict "hints" .hints "path" .path "values" $values "places" (list "cluster")) -}}
{{- include "dask.checkImageSaid" (dict "hints" .hints "path" .path "image" $values.image) -}}
{{- include "dask.checkPodSaid" (dict "hints" .hints "path" (printf "%s.scheduler" .path) "values" $values.scheduler "places" (list "scheduler" "pod")) -}}
{{- include "dask.checkPodSaid" (dict "hints" .hints "path" (printf "%s.worker" .path) "values" $values.worker "places" (list "worker" "workers" "pod")) -}}
{{- range $name, $group := $values.workerGroups -}}
{{- include "dask.checkPodSaid" (dict "hints" $.hints "path" (printf "%s.workerGroups.%s" $.path $name) "values" $group "places" (list "group" "workers" "pod")) -}}
{{- end -}}
{{- end -}}

{{/*
dask.checkPodSaid: the same for a scheduler, the workers of a group or a runner.
*/}}
{{- define "dask.checkPodSaid" -}}
{{- $values := .values | default dict -}}
{{- include "dask.checkPlace" (dict "hints" .hints "path" .path "values" $values "places" .places) -}}
{{- if or (has "group" .places) (has "job" .places) -}}
{{- include "dask.checkImageSaid" (dict "hints" .hints "path" .path "image" $values.image) -}}
{{- end -}}
{{- if and (kindIs "string" $values.replicas) (ne (toString $values.replicas) "external") -}}
{{- fail (printf "%s.replicas: %q is text; write the number without quotes, or external" .path $values.replicas) -}}
{{- end -}}
{{- range $kind := list "requests" "limits" -}}
{{- range $name, $quantity := get ($values.resources | default dict) $kind | default dict -}}
{{- if and (kindIs "string" $quantity) (not (regexMatch $.hints.quantity $quantity)) -}}
{{- fail (printf "%s.resources.%s.%s: %s is no quantity of Kubernetes; bytes are written as 4G or 4Gi, CPUs as 2 or 500m" $.path $kind $name $quantity) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
dask.checkImageSaid: the same for an image.
*/}}
{{- define "dask.checkImageSaid" -}}
{{- $image := .image | default dict -}}
{{- include "dask.checkPlace" (dict "hints" .hints "path" (printf "%s.image" .path) "values" $image "places" (list "image")) -}}
{{- if not (or (kindIs "string" $image.tag) (kindIs "invalid" $image.tag)) -}}
{{- fail (printf "%s.image.tag: YAML reads a number (%v), which has no zeros at its end; quote it, or use --set-string" .path $image.tag) -}}
{{- end -}}
{{- end -}}

{{/*
dask.checkPlace: refuses the keys of .values for which .places have a sentence, unless they exist there.
*/}}
{{- define "dask.checkPlace" -}}
{{- $known := ternary (list "args" "command") list (has "job" .places) -}}
{{- range $key := keys .values | sortAlpha -}}
{{- range $place := $.places -}}
{{- with get (get $.hints $place) $key -}}
{{- if not (has $key $known) -}}
{{- fail (printf "%s: there is no key '%s' here; %s" ($.path | default "values") $key .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
