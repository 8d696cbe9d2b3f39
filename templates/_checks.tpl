{{/*
dask.checkCluster: refuses what contradicts itself in the merged .values of a cluster, .declared over .defaults.
*/}}
{{- define "dask.checkCluster" -}}
{{- include "dask.checkUpdateStrategy" (dict "path" .path "strategies" (list .values.updateStrategy)) -}}
{{- include "dask.checkAutoscaler" (dict "path" .path "workerPath" (printf "%s.worker" .path) "defaults" .defaults "declared" .declared "worker" (.declared.worker | default dict) "values" .values "at" (.values.worker | default dict)) -}}
{{- include "dask.checkImage" (dict "path" .path "image" .values.image) -}}
{{- $service := printf "%s.scheduler.service" .path -}}
{{- include "dask.checkService" (dict "path" $service "values" (dig "scheduler" "service" dict .values)) -}}
{{- include "dask.checkHandedOn" (dict "path" .path "declared" .declared "values" .values "service" $service) -}}
{{- $idle := .values.idle | default dict -}}
{{- if and $idle.action (not (hasKey $idle "timeout")) -}}
{{- fail (printf "%s.idle.action is %s, but there is no idle.timeout: nothing would ever happen; say after how many seconds, or take the action away (idle: null)" .path $idle.action) -}}
{{- end -}}
{{- end -}}

{{/*
dask.checkAutoscaler: one of the two has the number of workers. Takes out of .values and .at (where the workers' own values
are) what is not to be rendered: an autoscaler that is switched off, or the `replicas` of `defaults` beside one.
.declared and .worker: the values of this very cluster or group, without what it took from .defaults.
*/}}
{{- define "dask.checkAutoscaler" -}}
{{- $auto := .values.autoscaler | default dict -}}
{{- if or (not $auto) (eq (toString (get $auto "enabled")) "false") -}}
{{- $_ := unset .values "autoscaler" -}}
{{- else -}}
{{- $path := printf "%s.autoscaler" .path -}}
{{- if not .declared.autoscaler -}}{{- $path = "defaults.autoscaler" -}}{{- end -}}
{{- range $key := list "minimum" "maximum" -}}
{{- if not (hasKey $auto $key) -}}
{{- fail (printf "%s: %s is missing; an autoscaler needs minimum and maximum" $path $key) -}}
{{- end -}}
{{- end -}}
{{- if gt (int64 $auto.minimum) (int64 $auto.maximum) -}}
{{- fail (printf "%s: minimum (%d) is greater than maximum (%d)" $path (int64 $auto.minimum) (int64 $auto.maximum)) -}}
{{- end -}}
{{- if and (hasKey .worker "replicas") (not (has (toString .worker.replicas) (list "external" "<nil>"))) -}}
{{- fail (printf "%s.replicas and %s: the autoscaler has the number of workers; take one of the two away" .workerPath $path) -}}
{{- else if and (hasKey .at "replicas") (ne (toString .at.replicas) "external") (not .declared.autoscaler) -}}
{{- fail "defaults.worker.replicas and defaults.autoscaler: the autoscaler has the number of workers; take one of the two away" -}}
{{- end -}}
{{- $_ := unset .at "replicas" -}}
{{- end -}}
{{- end -}}

{{/*
dask.checkName: the rules of the custom resource, said before anything is sent. YAML reads the keys `n`, `no`
and `off` as false, `y`, `yes` and `on` as true, which nobody calls a cluster or a job.
*/}}
{{- define "dask.checkName" -}}
{{- if or (eq .name "true") (eq .name "false") -}}
{{- fail (printf "%s: YAML takes the key for a truth value; put it in quotes, or choose another name" .path) -}}
{{- else if gt (len .name) 53 -}}
{{- fail (printf "%s: the name is %d characters long, at most 53 are possible" .path (len .name)) -}}
{{- else if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" .name) -}}
{{- fail (printf "%s: a name consists of lower-case letters, digits and \"-\" (no dots), starts with a letter and ends with a letter or digit" .path) -}}
{{- end -}}
{{- end -}}

{{/*
dask.checkGroupName: the same for the key of a worker group.
*/}}
{{- define "dask.checkGroupName" -}}
{{- $name := printf "%s-%s" .cluster .key -}}
{{- if eq .key "default" -}}
{{- fail (printf "%s: \"default\" is the cluster's own group, its values are %s; choose another key" .path .own) -}}
{{- else if gt (len $name) 63 -}}
{{- fail (printf "%s: the worker group's name %q is %d characters long, at most 63 are possible; shorten one of the two keys" .path $name (len $name)) -}}
{{- else if not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" .key) -}}
{{- fail (printf "%s: a key consists of lower-case letters, digits and \"-\" (no dots), and starts and ends with a letter or digit" .path) -}}
{{- end -}}
{{- end -}}

{{/*
dask.claim: two keys must not mean one object of .what (cluster "a" with group "b-default", and cluster "a-b").
*/}}
{{- define "dask.claim" -}}
{{- $key := printf "%s %s" .what .name -}}
{{- with get .seen $key -}}
{{- fail (printf "%s and %s both mean the %s %q; rename one of the keys" . $.path $.what $.name) -}}
{{- end -}}
{{- $_ := set .seen $key .path -}}
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
dask.checkServed: refuses what this very release would leave unserved. .out is that of dask.clusters.
*/}}
{{- define "dask.checkServed" -}}
{{- $controller := .root.Values.controller | default dict -}}
{{- $first := concat (keys .out.clusters | sortAlpha) (keys .out.jobs | sortAlpha) | first -}}
{{- if and $first $controller.enabled -}}
{{- $here := .root.Release.Namespace -}}
{{- if and $controller.watchNamespaces (not (has $here $controller.watchNamespaces)) -}}
{{- fail (printf "controller.watchNamespaces: %s is declared in namespace %s, which is not among them, so nobody would serve it; add %s, or declare it in a release of its own (package dask-clusters) in a namespace that is" $first $here $here) -}}
{{- end -}}
{{- if and (hasKey $controller "replicas") (eq (toString $controller.replicas) "0") -}}
{{- fail (printf "controller.replicas: with 0 nobody would serve %s; take it away, or say controller.enabled: false where another release brings the controller" $first) -}}
{{- end -}}
{{- end -}}
{{- end -}}
