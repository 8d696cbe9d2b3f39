{{/*
controller.check: refuses values that would give the controller's rights to others, or that Kubernetes would take half of.
*/}}
{{- define "controller.check" -}}
{{- $account := .Values.serviceAccount -}}
{{- if eq $account.name "default" -}}
{{- fail "controller.serviceAccount.name: every pod of the namespace that names no ServiceAccount runs as `default`, and would have the controller's rights; name another one" -}}
{{- else if not (or $account.create $account.name) -}}
{{- fail "controller.serviceAccount: with `create: false`, name the ServiceAccount that is there already; without a name it would be `default`, as which every pod of the namespace runs" -}}
{{- end -}}
{{- $ours := include "controller.labels" . | fromYaml -}}
{{- range $key, $_ := .Values.podLabels -}}
{{- if hasKey $ours $key -}}
{{- fail (printf "controller.podLabels: %s is the chart's own label, by which Deployment and Service find the Pod; choose another key" $key) -}}
{{- end -}}
{{- end -}}
{{- $seen := dict -}}
{{- range .Values.extraEnv -}}
{{- if hasPrefix "DASK_GITOPS_" .name -}}
{{- fail (printf "controller.extraEnv: %s is a setting of the controller's own, which has a value of the chart: see docs/values.md" .name) -}}
{{- else if hasKey $seen .name -}}
{{- fail (printf "controller.extraEnv: %s stands there twice; Kubernetes would take the last one only" .name) -}}
{{- end -}}
{{- $_ := set $seen .name true -}}
{{- end -}}
{{- end -}}
