{{/*
dask.clusters: puts into .out what the values declare, merged and checked.
  {{- $out := dict }}{{ include "dask.clusters" (dict "root" $ "out" $out) }}
  $out.clusters:    name -> {path, values, podTemplates: {scheduler, worker}}
  $out.groups:      name -> {path, cluster, values, pullPolicy, pullSecrets, podTemplates: {worker}}
  $out.autoscalers: name -> {cluster, group (empty for the cluster's own), values, of (whose labels and annotations)}
  $out.jobs:        name -> {path, values, pullSecrets, podTemplates, cluster: {path, values, podTemplates, groups: key -> like a group}}
A cluster is laid over `defaults`, a group over `defaults.worker` and the cluster's labels, annotations and protection. podTemplates are kept apart, lowest first:
they are laid over the finished Pod one after the other, so that their lists merge by name. Where null took
podTemplate (or all of scheduler or worker) away, there is none.
*/}}
{{- define "dask.clusters" -}}
{{- $out := dict "clusters" dict "groups" dict "autoscalers" dict "jobs" dict -}}
{{- include "dask.checkSaid" .root.Values -}}
{{- $seen := dict -}}
{{- $defaults := .root.Values.defaults | default dict -}}
{{- range $name, $declared := .root.Values.clusters -}}
  {{- $path := printf "clusters.%s" $name -}}
  {{- $declared = $declared | default dict -}}
  {{- $cluster := dict -}}
  {{- include "dask.cluster" (dict "path" $path "defaults" $defaults "declared" $declared "out" $cluster) -}}
  {{- $values := $cluster.values -}}
  {{- if ne (toString (get $values "enabled")) "false" -}}
    {{- include "dask.checkName" (dict "path" $path "name" $name) -}}
    {{- include "dask.checkCluster" (dict "path" $path "defaults" $defaults "declared" $declared "values" $values) -}}
    {{- $_ := set $out.clusters $name $cluster -}}
    {{- include "dask.claim" (dict "seen" $seen "what" "worker group" "name" (printf "%s-default" $name) "path" $path) -}}
    {{- with $values.autoscaler -}}
      {{- include "dask.claim" (dict "seen" $seen "what" "autoscaler" "name" $name "path" (printf "%s.autoscaler" $path)) -}}
      {{- $_ := set $out.autoscalers $name (dict "cluster" $name "group" "" "values" . "of" $values) -}}
    {{- end -}}
    {{- range $key, $declaredGroup := $declared.workerGroups -}}
      {{- $path := printf "%s.workerGroups.%s" $path $key -}}
      {{- $groupName := printf "%s-%s" $name $key -}}
      {{- $group := dict "cluster" $name -}}
      {{- include "dask.group" (dict "path" $path "defaults" $defaults "cluster" $values "declared" $declaredGroup "out" $group) -}}
      {{- if ne (toString (get $group.values "enabled")) "false" -}}
        {{- include "dask.checkGroupName" (dict "cluster" $name "key" $key "path" $path "own" (printf "clusters.%s.worker" $name)) -}}
        {{- include "dask.checkHandedOn" (dict "path" $path "declared" ($declaredGroup | default dict) "values" $group.values "service" (printf "clusters.%s.scheduler.service" $name)) -}}
        {{- include "dask.checkUpdateStrategy" (dict "path" $path "strategies" (list $values.updateStrategy $group.values.updateStrategy)) -}}
        {{- include "dask.checkAutoscaler" (dict "path" $path "workerPath" $path "declared" ($declaredGroup | default dict) "worker" ($declaredGroup | default dict) "values" $group.values "at" $group.values) -}}
        {{- include "dask.claim" (dict "seen" $seen "what" "worker group" "name" $groupName "path" $path) -}}
        {{- $_ := set $out.groups $groupName $group -}}
        {{- with $group.values.autoscaler -}}
          {{- include "dask.claim" (dict "seen" $seen "what" "autoscaler" "name" $groupName "path" (printf "%s.autoscaler" $path)) -}}
          {{- $_ := set $out.autoscalers $groupName (dict "cluster" $name "group" $groupName "values" . "of" $group.values) -}}
        {{- end -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- include "dask.jobs" (dict "root" .root "seen" $seen "out" $out) -}}
{{- include "dask.checkServed" (dict "root" .root "out" $out) -}}
{{- range $key, $value := $out -}}{{- $_ := set $.out $key $value -}}{{- end -}}
{{- end -}}

{{/*
dask.cluster: puts into .out {path, values, podTemplates}: .declared laid over .defaults.
*/}}
{{- define "dask.cluster" -}}
{{- $values := dict -}}
{{- $podTemplates := dict -}}
{{- range $from := list .defaults .declared -}}
  {{- include "dask.layPorts" (dict "values" $values "from" $from) -}}
  {{- include "dask.merge" (dict "into" $values "from" $from) -}}
{{- end -}}
{{- range $part := list "scheduler" "worker" -}}
  {{- $low := (get $.defaults $part | default dict).podTemplate -}}
  {{- $high := (get $.declared $part | default dict).podTemplate -}}
  {{- include "dask.markInherited" (dict "values" (get $values $part) "declared" (get $.declared $part)) -}}
  {{- $_ := set $podTemplates $part (ternary (list $low $high) list (hasKey (get $values $part | default dict) "podTemplate")) -}}
{{- end -}}
{{- /* An inherited digest is that of another tag. */ -}}
{{- $image := get .declared "image" | default dict -}}
{{- if and $image.tag (not (hasKey $image "digest")) -}}{{- $_ := unset $values.image "digest" -}}{{- end -}}
{{- $_ := set .out "path" .path -}}
{{- $_ := set .out "values" $values -}}
{{- $_ := set .out "podTemplates" $podTemplates -}}
{{- end -}}

{{/*
dask.group: puts into .out {path, values, pullPolicy, pullSecrets, podTemplates}: .declared laid over the workers of .defaults, and labels,
annotations and protection of .cluster (its values).
*/}}
{{- define "dask.group" -}}
{{- $declared := .declared | default dict -}}
{{- $low := .defaults.worker | default dict -}}
{{- $values := dict -}}
{{- include "dask.merge" (dict "into" $values "from" (pick .cluster "labels" "annotations" "protect")) -}}
{{- include "dask.merge" (dict "into" $values "from" $low) -}}
{{- include "dask.merge" (dict "into" $values "from" $declared) -}}
{{- include "dask.markInherited" (dict "values" $values "declared" $declared) -}}
{{- include "dask.inheritImage" (dict "path" .path "values" $values "cluster" .cluster) -}}
{{- $_ := set .out "path" .path -}}
{{- $_ := set .out "values" $values -}}
{{- $_ := set .out "pullSecrets" (dig "pod" "imagePullSecrets" list .cluster) -}}
{{- $_ := set .out "pullPolicy" (dig "image" "pullPolicy" "" $values | default (dig "image" "pullPolicy" "" .cluster)) -}}
{{- $_ := set .out "podTemplates" (dict "worker" (ternary (list $low.podTemplate $declared.podTemplate) list (hasKey $values "podTemplate"))) -}}
{{- end -}}

{{/*
dask.plain: those of .keys that .values has, as they are; maps that are empty are left out.
*/}}
{{- define "dask.plain" -}}
{{- $out := dict -}}
{{- range $key := .keys -}}
{{- $value := get $.values $key -}}
{{- if and (hasKey $.values $key) (or $value (not (kindIs "map" $value))) -}}
{{- $_ := set $out $key $value -}}
{{- end -}}
{{- end -}}
{{- with $out -}}{{- toYaml . -}}{{- end -}}
{{- end -}}

{{/*
dask.metadata: name, namespace, labels and annotations of a custom resource.
  {{- include "dask.metadata" (dict "root" $ "name" $name "values" $values) | nindent 2 }}
Argo CD creates wave 1 when the controller is healthy, and deletes it while the controller still runs.
*/}}
{{- define "dask.metadata" -}}
{{- $labels := dict
  "app.kubernetes.io/name" "dask-gitops"
  "app.kubernetes.io/instance" .root.Release.Name
  "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $annotations := dict "argocd.argoproj.io/sync-wave" "1" -}}
{{- $options := list -}}
{{- if not (.root.Values.crds | default dict).enabled -}}
{{- $options = append $options "SkipDryRunOnMissingResource=true" -}}
{{- end -}}
{{- if .values.protect -}}
{{- $options = concat $options (list "Prune=confirm" "Delete=confirm") -}}
{{- $_ := set $annotations "kustomize.toolkit.fluxcd.io/prune" "disabled" -}}
{{- $_ := set $annotations "helm.sh/resource-policy" "keep" -}}
{{- end -}}
{{- include "dask.merge" (dict "into" $labels "from" (.values.labels | default dict)) -}}
{{- include "dask.merge" (dict "into" $annotations "from" (.values.annotations | default dict)) -}}
{{- include "dask.syncOptions" (dict "annotations" $annotations "options" $options) -}}
name: {{ .name | quote }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- toYaml $labels | nindent 2 }}
annotations:
  {{- toYaml $annotations | nindent 2 }}
{{- end -}}

{{/*
dask.syncOptions: puts .options for Argo CD beside those of the user in .annotations, who has the last word on each.
*/}}
{{- define "dask.syncOptions" -}}
{{- $key := "argocd.argoproj.io/sync-options" -}}
{{- $all := dict -}}
{{- range concat .options (splitList "," (get .annotations $key)) -}}
{{- with trim . -}}{{- $_ := set $all (splitList "=" . | first) . -}}{{- end -}}
{{- end -}}
{{- if $all -}}{{- $_ := set .annotations $key (values $all | sortAlpha | join ",") -}}{{- end -}}
{{- end -}}
