{{/*
dask.layPorts: puts Dask's two ports into .values where .from, which is laid over them next, lists some: it says of them what is other, or
takes one away. Where none are listed, they are the controller's.
*/}}
{{- define "dask.layPorts" -}}
{{- $service := get (.from.scheduler | default dict) "service" | default dict -}}
{{- if kindIs "slice" $service.ports -}}
{{- $old := get (.values.scheduler | default dict) "service" | default dict -}}
{{- if not (hasKey $old "ports") -}}
{{- $ports := list (dict "name" "tcp-comm" "port" 8786) (dict "name" "http-dashboard" "port" 8787) -}}
{{- include "dask.merge" (dict "into" .values "from" (dict "scheduler" (dict "service" (dict "ports" $ports)))) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
dask.service: puts into .out {spec, metadata} what .values (scheduler.service, merged) says about the scheduler's Service.
*/}}
{{- define "dask.service" -}}
{{- $values := .values | default dict -}}
{{- $spec := dict -}}
{{- include "dask.merge" (dict "into" $spec "from" (omit $values "annotations" "labels")) -}}
{{- $metadata := dict -}}
{{- range $key := list "annotations" "labels" -}}
{{- with get $values $key -}}{{- $_ := set $metadata $key . -}}{{- end -}}
{{- end -}}
{{- $_ := set .out "spec" $spec -}}
{{- $_ := set .out "metadata" $metadata -}}
{{- end -}}

{{/*
dask.checkService: refuses ports that Kubernetes would refuse, or that nobody could connect to. .path is that of the Service's values.
*/}}
{{- define "dask.checkService" -}}
{{- $path := printf "%s.ports" .path -}}
{{- range (.values | default dict).ports -}}
{{- if not .name -}}
{{- fail (printf "%s: a port needs a name; tcp-comm (8786) and http-dashboard (8787) are Dask's, any other one is added to them" $path) -}}
{{- end -}}
{{- end -}}
{{- $service := dict -}}
{{- include "dask.service" (dict "values" .values "out" $service) -}}
{{- $seen := dict -}}
{{- range $service.spec.ports -}}
{{- if not .port -}}
{{- fail (printf "%s: %s has no port, give its number" $path .name) -}}
{{- end -}}
{{- $key := printf "%d/%s" (int64 .port) (.protocol | default "TCP") -}}
{{- if hasKey $seen $key -}}
{{- fail (printf "%s: %s and %s both mean port %s; to change one of Dask's ports, use its name" $path (get $seen $key) .name $key) -}}
{{- end -}}
{{- $_ := set $seen $key .name -}}
{{- end -}}
{{- if and (hasKey $service.spec "ports") (not (has "tcp-comm" (values $seen))) -}}
{{- fail (printf "%s: without tcp-comm no worker and no client reaches the scheduler" $path) -}}
{{- end -}}
{{- include "dask.checkAllMetadata" (dict "path" .path "metadata" $service.metadata) -}}
{{- end -}}

{{/*
dask.checkHandedOn: refuses labels and annotations of a custom resource that are meant for a Service and would reach none, as
the controller hands on nothing of kubernetes.io. .path and .values are those of the cluster, group or job; .service is where they belong.
*/}}
{{- define "dask.checkHandedOn" -}}
{{- range $field := list "annotations" "labels" -}}
{{- include "dask.checkKeys" (dict "path" (printf "%s.%s" $.path $field) "values" (get $.values $field)) -}}
{{- range $key, $value := get $.values $field | default dict -}}
{{- include "dask.checkMetadata" (dict "path" (printf "%s.%s" $.path $field) "field" $field "key" $key "value" $value) -}}
{{- if regexMatch "^((service|external-dns)([.][^/]*)?|([^/]*[.])?load-?balancer([.][^/]*)?)[.](kubernetes|k8s|x-k8s)[.]io/" $key -}}
{{- $from := ternary $.path "defaults" (hasKey (get $.declared $field | default dict) $key) -}}
{{- fail (printf "%s.%s: %s is about a Service and would reach none; it belongs into %s.%s" $from $field $key $.service $field) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
dask.checkAllMetadata: the same for all labels and annotations of .metadata.
*/}}
{{- define "dask.checkAllMetadata" -}}
{{- range $field := list "annotations" "labels" -}}
{{- range $key, $value := get $.metadata $field | default dict -}}
{{- include "dask.checkMetadata" (dict "path" (printf "%s.%s" $.path $field) "field" $field "key" $key "value" $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
dask.checkMetadata: the rules of Kubernetes for one label or annotation, said before anything is sent. .field is labels or annotations.
*/}}
{{- define "dask.checkMetadata" -}}
{{- $name := regexReplaceAll "^[^/]*/" .key "" -}}
{{- /* Of annotations Kubernetes reads the key in lower case. */ -}}
{{- $key := ternary .key (lower .key) (eq .field "labels") -}}
{{- if or (gt (len $name) 63) (not (regexMatch "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$" $key)) -}}
{{- fail (printf "%s: %q is no key; it has at most 63 letters, digits, \"-\", \"_\" and \".\", a letter or digit first and last, and perhaps a domain and \"/\" before" .path .key) -}}
{{- end -}}
{{- if and (eq .field "labels") (or (gt (len (toString .value)) 63) (not (regexMatch "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$" (toString .value)))) -}}
{{- fail (printf "%s.%s: %q is no label; it has at most 63 letters (a to z), digits, \"-\", \"_\" and \".\", a letter or digit first and last; other text can be an annotation" .path .key (toString .value)) -}}
{{- end -}}
{{- include "dask.checkText" (dict "path" (printf "%s.%s" .path .key) "text" (toString .value)) -}}
{{- end -}}

{{/*
dask.checkText: refuses the character NUL, which no program is given.
*/}}
{{- define "dask.checkText" -}}
{{- if contains "\x00" .text -}}
{{- fail (printf "%s: the text has a character NUL in it, which Kubernetes gives to no program; take it out" .path) -}}
{{- end -}}
{{- end -}}
