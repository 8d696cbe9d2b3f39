{{/*
dask.clusters: puts into .out what the values declare, merged and checked.
  {{- $out := dict }}{{ include "dask.clusters" (dict "root" $ "out" $out) }}
  $out.clusters: name -> {values, podTemplates: {scheduler, worker}}
  $out.groups:   name -> {cluster, values, pullPolicy, podTemplates: {worker}}
A cluster is laid over `defaults`, a group over `defaults.worker` and the cluster's labels and annotations. podTemplates are kept apart, lowest first:
they are laid over the finished Pod one after the other, so that their lists merge by name. Where null took
podTemplate (or all of scheduler or worker) away, there is none.
*/}}
{{- define "dask.clusters" -}}
{{- $clusters := dict -}}
{{- $groups := dict -}}
{{- $seen := dict -}}
{{- $defaults := .root.Values.defaults | default dict -}}
{{- range $name, $declared := .root.Values.clusters -}}
  {{- $declared = $declared | default dict -}}
  {{- $values := dict -}}
  {{- include "dask.merge" (dict "into" $values "from" $defaults) -}}
  {{- include "dask.merge" (dict "into" $values "from" $declared) -}}
  {{- if ne (toString (get $values "enabled")) "false" -}}
    {{- $podTemplates := dict -}}
    {{- range $part := list "scheduler" "worker" -}}
      {{- $low := (get $defaults $part | default dict).podTemplate -}}
      {{- $high := (get $declared $part | default dict).podTemplate -}}
      {{- $_ := set $podTemplates $part (ternary (list $low $high) list (hasKey (get $values $part | default dict) "podTemplate")) -}}
    {{- end -}}
    {{- $_ := set $clusters $name (dict "values" $values "podTemplates" $podTemplates) -}}
    {{- include "dask.checkClusterName" $name -}}
    {{- include "dask.checkUpdateStrategy" (dict "path" (printf "clusters.%s" $name) "strategies" (list $values.updateStrategy)) -}}
    {{- include "dask.claim" (dict "seen" $seen "group" (printf "%s-default" $name) "path" (printf "clusters.%s" $name)) -}}
    {{- range $key, $group := $declared.workerGroups -}}
      {{- $group = $group | default dict -}}
      {{- $path := printf "clusters.%s.workerGroups.%s" $name $key -}}
      {{- $groupName := printf "%s-%s" $name $key -}}
      {{- $groupValues := dict -}}
      {{- include "dask.merge" (dict "into" $groupValues "from" (pick $values "labels" "annotations")) -}}
      {{- include "dask.merge" (dict "into" $groupValues "from" ($defaults.worker | default dict)) -}}
      {{- include "dask.merge" (dict "into" $groupValues "from" $group) -}}
      {{- if ne (toString (get $groupValues "enabled")) "false" -}}
        {{- include "dask.checkGroupName" (dict "cluster" $name "key" $key "path" $path) -}}
        {{- include "dask.checkUpdateStrategy" (dict "path" $path "strategies" (list $values.updateStrategy $groupValues.updateStrategy)) -}}
        {{- include "dask.claim" (dict "seen" $seen "group" $groupName "path" $path) -}}
        {{- $_ := set $groups $groupName (dict
          "cluster" $name
          "values" $groupValues
          "pullPolicy" (dig "image" "pullPolicy" "" $groupValues | default (dig "image" "pullPolicy" "" $values))
          "podTemplates" (dict "worker" (ternary (list ($defaults.worker | default dict).podTemplate $group.podTemplate) list (hasKey $groupValues "podTemplate")))) -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- $_ := set .out "clusters" $clusters -}}
{{- $_ := set .out "groups" $groups -}}
{{- end -}}

{{/*
dask.checkClusterName: the rules of the custom resource, said before anything is sent. YAML reads the keys `n`, `no`
and `off` as false, `y`, `yes` and `on` as true, which nobody calls a cluster.
*/}}
{{- define "dask.checkClusterName" -}}
{{- if or (eq . "true") (eq . "false") -}}
{{- fail (printf "clusters.%s: YAML takes the key for a truth value; put it in quotes, or choose another name" .) -}}
{{- else if gt (len .) 53 -}}
{{- fail (printf "clusters.%s: the name is %d characters long, at most 53 are possible" . (len .)) -}}
{{- else if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" .) -}}
{{- fail (printf "clusters.%s: a name consists of lower-case letters, digits and \"-\" (no dots), starts with a letter and ends with a letter or digit" .) -}}
{{- end -}}
{{- end -}}

{{/*
dask.checkGroupName: the same for the key of a worker group.
*/}}
{{- define "dask.checkGroupName" -}}
{{- $name := printf "%s-%s" .cluster .key -}}
{{- if eq .key "default" -}}
{{- fail (printf "%s: \"default\" is the cluster's own group, its values are clusters.%s.worker; choose another key" .path .cluster) -}}
{{- else if gt (len $name) 63 -}}
{{- fail (printf "%s: the worker group's name %q is %d characters long, at most 63 are possible; shorten one of the two keys" .path $name (len $name)) -}}
{{- else if not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" .key) -}}
{{- fail (printf "%s: a key consists of lower-case letters, digits and \"-\" (no dots), and starts and ends with a letter or digit" .path) -}}
{{- end -}}
{{- end -}}

{{/*
dask.claim: two keys must not mean one DaskWorkerGroup (cluster "a" with group "b-default", and cluster "a-b").
*/}}
{{- define "dask.claim" -}}
{{- with get .seen .group -}}
{{- fail (printf "%s and %s both mean the worker group %q; rename one of the keys" . $.path $.group) -}}
{{- end -}}
{{- $_ := set .seen .group .path -}}
{{- end -}}

{{/*
dask.checkUpdateStrategy: refuses a roll-out that could never take a step. A group takes from its cluster what it does not
say itself: .strategies, lowest first.
*/}}
{{- define "dask.checkUpdateStrategy" -}}
{{- $strategy := dict "maxUnavailable" 0 -}}
{{- range .strategies -}}
{{- include "dask.merge" (dict "into" $strategy "from" (. | default dict)) -}}
{{- end -}}
{{- $zero := "^0+%?$" -}}
{{- if and (regexMatch $zero (toString $strategy.maxSurge)) (regexMatch $zero (toString $strategy.maxUnavailable)) -}}
{{- fail (printf "%s.updateStrategy: maxSurge and maxUnavailable must not both be 0 (maxUnavailable is 0 where nothing else is said), no worker could ever be replaced" .path) -}}
{{- end -}}
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
dask.image: repository:tag@digest. Prints nothing when neither of them is set.
*/}}
{{- define "dask.image" -}}
{{- with . -}}
{{- if or .repository .tag .digest -}}
{{- .repository | default "ghcr.io/dask/dask" }}{{ with .tag }}:{{ . }}{{ end }}{{ with .digest }}@{{ . }}{{ end -}}
{{- end -}}
{{- end -}}
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
{{- if not .root.Values.crds.enabled -}}
{{- $_ := set $annotations "argocd.argoproj.io/sync-options" "SkipDryRunOnMissingResource=true" -}}
{{- end -}}
{{- include "dask.merge" (dict "into" $labels "from" (.values.labels | default dict)) -}}
{{- include "dask.merge" (dict "into" $annotations "from" (.values.annotations | default dict)) -}}
name: {{ .name | quote }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- toYaml $labels | nindent 2 }}
annotations:
  {{- toYaml $annotations | nindent 2 }}
{{- end -}}
