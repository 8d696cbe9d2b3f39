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
    {{- include "dask.cluster" (dict "path" $clusterPath "defaults" $defaults "declared" $declared "out" $cluster) -}}
    {{- include "dask.checkCluster" (dict "path" $clusterPath "defaults" $defaults "declared" $declared "values" $cluster.values) -}}
    {{- include "dask.claim" (dict "seen" $.seen "what" "worker group" "name" (printf "%s-default" $name) "path" $path) -}}
    {{- range $key, $declaredGroup := $declared.workerGroups -}}
      {{- $path := printf "%s.workerGroups.%s" $clusterPath $key -}}
      {{- $group := dict -}}
      {{- include "dask.group" (dict "path" $path "defaults" $defaults "cluster" (omit $cluster.values "labels" "annotations") "declared" $declaredGroup "out" $group) -}}
      {{- if ne (toString (get $group.values "enabled")) "false" -}}
        {{- include "dask.checkGroupName" (dict "cluster" $name "key" $key "path" $path "own" (printf "%s.worker" $clusterPath)) -}}
        {{- include "dask.claim" (dict "seen" $.seen "what" "worker group" "name" (printf "%s-%s" $name $key) "path" $path) -}}
        {{- $_ := set $cluster.groups $key $group -}}
      {{- end -}}
    {{- end -}}
    {{- $values := dict -}}
    {{- include "dask.merge" (dict "into" $values "from" (pick $defaults "labels" "annotations")) -}}
    {{- include "dask.merge" (dict "into" $values "from" (omit $job "cluster")) -}}
    {{- $ownImage := include "dask.image" $values.image -}}
    {{- include "dask.inheritImage" (dict "path" $path "values" $values "cluster" $cluster.values) -}}
    {{- include "dask.checkHandedOn" (dict "path" $path "declared" $job "values" $values "service" (printf "%s.scheduler.service" $clusterPath)) -}}
    {{- $_ := set $.out.jobs $name (dict "path" $path "values" $values "pullSecrets" (include "dask.runnerSecrets" (dict "ownImage" $ownImage "cluster" $cluster) | fromJsonArray) "podTemplates" (list $job.podTemplate) "cluster" $cluster) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/*
dask.runnerSecrets: the pull secrets of a job's runner, as JSON: those of all Pods; and, as its image is that of the cluster unless it
has one of its own, those of the cluster's Pods.
*/}}
{{- define "dask.runnerSecrets" -}}
{{- $secrets := dict "items" (dig "pod" "imagePullSecrets" list .cluster.values) -}}
{{- if not .ownImage -}}
{{- range $part := list "scheduler" "worker" -}}
{{- $found := list -}}
{{- range get $.cluster.podTemplates $part -}}
{{- $found = dig "spec" "imagePullSecrets" $found (dict "spec" (get (. | default dict) "spec" | default dict)) | default list -}}
{{- end -}}
{{- include "dask.mergeList" (dict "list" $secrets "from" $found "by" "name" "of" "imagePullSecrets") -}}
{{- end -}}
{{- end -}}
{{- toJson $secrets.items -}}
{{- end -}}
