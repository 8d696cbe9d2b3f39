{{/*
dask.jobs: puts into .out.jobs what the values declare; a part of dask.clusters, see there.
*/}}
{{- define "dask.jobs" -}}
{{- /* `suspend` of the defaults is about clusters; a job has its own, and its cluster none. */ -}}
{{- $defaults := omit (.root.Values.defaults | default dict) "suspend" -}}
{{- range $name, $job := .root.Values.jobs -}}
  {{- $path := printf "jobs.%s" $name -}}
  {{- $job = $job | default dict -}}
  {{- if ne (toString (get $job "enabled")) "false" -}}
    {{- include "dask.checkName" (dict "path" $path "name" $name) -}}
    {{- if hasKey $.out.clusters $name -}}
    {{- fail (printf "clusters.%s and %s both mean the DaskCluster %q; rename one of the keys" $name $path $name) -}}
    {{- end -}}
    {{- if not (or $job.args $job.command $job.podTemplate (include "dask.image" $job.image)) -}}
    {{- fail (printf "%s: there is nothing to run; give args (such as [python, -m, my_report]), a command, or an image of its own" $path) -}}
    {{- end -}}
    {{- $declared := $job.cluster | default dict -}}
    {{- $cluster := dict "groups" dict -}}
    {{- $clusterPath := printf "%s.cluster" $path -}}
    {{- include "dask.cluster" (dict "defaults" $defaults "declared" $declared "out" $cluster) -}}
    {{- include "dask.checkCluster" (dict "path" $clusterPath "defaults" $defaults "declared" $declared "values" $cluster.values) -}}
    {{- include "dask.claim" (dict "seen" $.seen "what" "worker group" "name" (printf "%s-default" $name) "path" $path) -}}
    {{- range $key, $declaredGroup := $declared.workerGroups -}}
      {{- $path := printf "%s.workerGroups.%s" $clusterPath $key -}}
      {{- $group := dict -}}
      {{- include "dask.group" (dict "defaults" $defaults "cluster" (omit $cluster.values "labels" "annotations") "declared" $declaredGroup "out" $group) -}}
      {{- if ne (toString (get $group.values "enabled")) "false" -}}
        {{- include "dask.checkGroupName" (dict "cluster" $name "key" $key "path" $path "own" (printf "%s.worker" $clusterPath)) -}}
        {{- include "dask.claim" (dict "seen" $.seen "what" "worker group" "name" (printf "%s-%s" $name $key) "path" $path) -}}
        {{- $_ := set $cluster.groups $key $group -}}
      {{- end -}}
    {{- end -}}
    {{- $values := dict -}}
    {{- include "dask.merge" (dict "into" $values "from" (pick $defaults "labels" "annotations")) -}}
    {{- include "dask.merge" (dict "into" $values "from" (omit $job "cluster")) -}}
    {{- $_ := set $.out.jobs $name (dict "values" $values "podTemplates" (list $job.podTemplate) "cluster" $cluster) -}}
  {{- end -}}
{{- end -}}
{{- end -}}
