{{/*
Name of every object of the controller: <release>-controller.
*/}}
{{- define "controller.fullname" -}}
{{- if hasSuffix "controller" .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-controller" (.Release.Name | trunc 42 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{- define "controller.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "controller.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/*
repository:tag@digest, the tag being the chart's appVersion unless given.
*/}}
{{- define "controller.image" -}}
{{- with .Values.image -}}
{{- .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ with .digest }}@{{ . }}{{ end -}}
{{- end -}}
{{- end -}}

{{/*
A limit as the controller reads it: Helm's numbers of a million and more would be written 1e+06.
*/}}
{{- define "controller.limit" -}}
{{- $value := index ((first .).Values.limits | default dict) (last .) -}}
{{- if kindIs "float64" $value }}{{ $value = int64 $value }}{{ end -}}
{{- if kindIs "invalid" $value }}{{ $value = "" }}{{ end -}}
{{- toString $value | quote -}}
{{- end -}}

{{- define "controller.selectorLabels" -}}
app.kubernetes.io/name: dask-gitops
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: controller
{{- end -}}

{{- define "controller.labels" -}}
{{ include "controller.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end -}}

{{/*
What the controller may do in the namespaces it serves: exactly the calls it makes, and what its plugins ask for.
*/}}
{{- define "controller.rules" -}}
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters, daskworkergroups, daskautoscalers, daskjobs]
  verbs: [get, list, watch]
# Of what others made, only an old operator's finalizer is taken off, once the object is being deleted.
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters, daskjobs]
  verbs: [patch]
# The cluster of a job is the controller's own object; idleAction: Delete, of clusters that no tool tracks.
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters]
  verbs: [create, delete]
# ttlSecondsAfterFinished, of jobs that no tool tracks.
- apiGroups: [kubernetes.dask.org]
  resources: [daskjobs]
  verbs: [delete]
# The groups and the autoscaler that a cluster declares itself are the controller's own objects.
- apiGroups: [kubernetes.dask.org]
  resources: [daskworkergroups, daskautoscalers]
  verbs: [create, patch, delete]
- apiGroups: [kubernetes.dask.org]
  resources: [daskworkergroups/scale]
  verbs: [patch]
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters/status, daskworkergroups/status, daskautoscalers/status, daskjobs/status]
  verbs: [patch]
# Never used to set a finalizer: OpenShift asks for it before an ownerReference may block deletion.
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters/finalizers, daskjobs/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- with .Values.extraRules }}
{{ toYaml . }}
{{- end }}
{{- end -}}
