{{/*
dask.clusterSpec: the fields of a DaskCluster's spec, those that are not empty.
  {{- include "dask.clusterSpec" (dict "path" $path "values" $values "podTemplates" $podTemplates) | nindent 2 }}
*/}}
{{- define "dask.clusterSpec" -}}
{{- $values := .values -}}
{{- $pullPolicy := dig "image" "pullPolicy" "" $values -}}
{{- $pullSecrets := dig "pod" "imagePullSecrets" list $values -}}
{{- $scheduler := include "dask.pod" (dict "path" (printf "%s.scheduler" .path) "pullSecrets" $pullSecrets "container" "scheduler" "values" (omit ($values.scheduler | default dict) "nthreads" "memoryLimit") "pullPolicy" $pullPolicy "podTemplates" .podTemplates.scheduler) | trim -}}
{{- $worker := include "dask.worker" (dict "path" (printf "%s.worker" .path) "pullSecrets" $pullSecrets "values" ($values.worker | default dict) "pullPolicy" $pullPolicy "podTemplates" .podTemplates.worker) | trim -}}
{{- $service := dict -}}
{{- include "dask.service" (dict "values" (dig "scheduler" "service" dict $values) "out" $service) -}}
{{- $idle := $values.idle | default dict -}}
{{- with include "dask.image" $values.image }}
image: {{ . | quote }}
{{- end }}
{{- with include "dask.plain" (dict "values" $values "keys" (list "drainTimeout" "progressDeadlineSeconds" "restartedAt" "suspend" "updateStrategy" "whenUnreachable")) }}
{{ . }}
{{- end }}
{{- if hasKey $idle "timeout" }}
idleTimeout: {{ int64 $idle.timeout }}
{{- with and $idle.timeout $idle.action }}
idleAction: {{ . }}
{{- end }}
{{- end }}
{{- if or $scheduler $service.spec $service.metadata }}
scheduler:
  {{- with $scheduler }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with $service.spec }}
  service:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $service.metadata }}
  serviceMetadata:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- with $worker }}
worker:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
dask.groupWorker: the body of spec.worker of a group, as dask.group made it.
*/}}
{{- define "dask.groupWorker" -}}
{{- include "dask.worker" (dict "path" .path "pullSecrets" .pullSecrets "values" .values "image" (include "dask.image" .values.image) "pullPolicy" .pullPolicy "podTemplates" .podTemplates.worker) | trim -}}
{{- end -}}

{{/*
dask.autoscaling: what an autoscaler says, wherever it stands.
*/}}
{{- define "dask.autoscaling" -}}
{{- include "dask.plain" (dict "values" . "keys" (list "minimum" "maximum" "interval" "scaleUp" "scaleDown")) -}}
{{- end -}}

{{/*
dask.jobClusterSpec: the same for the cluster of a job, which has its autoscaler and its groups inside.
*/}}
{{- define "dask.jobClusterSpec" -}}
{{- include "dask.clusterSpec" . }}
{{- with .values.autoscaler }}
autoscaler:
  {{- include "dask.autoscaling" . | nindent 2 }}
{{- end }}
{{- with .groups }}
workerGroups:
  {{- range $key, $group := . }}
  - name: {{ $key | quote }}
    {{- with include "dask.groupWorker" $group }}
    worker:
      {{- . | nindent 6 }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end -}}
