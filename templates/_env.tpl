{{/*
dask.env: puts into .out.items the variables of the values, as Kubernetes lists them: sorted by name, but those that others refer to by
`$(NAME)` before them, as Kubernetes fills in only what stands above.
*/}}
{{- define "dask.env" -}}
{{- $path := printf "%s.env" .path -}}
{{- include "dask.checkKeys" (dict "path" $path "values" .env) -}}
{{- $state := dict "env" (.env | default dict) "path" $path "seen" dict "items" list -}}
{{- range $name, $_ := .env -}}
{{- include "dask.variable" (dict "state" $state "name" $name "above" list) -}}
{{- end -}}
{{- $_ := set .out "items" $state.items -}}
{{- end -}}

{{/*
dask.variable: adds the variable .name, and before it those that it refers to. .above are those that led here.
*/}}
{{- define "dask.variable" -}}
{{- $state := .state -}}
{{- $name := .name -}}
{{- $above := append .above $name -}}
{{- $value := get $state.env $name -}}
{{- if has $name .above -}}
{{- fail (printf "%s: %s refer to each other in a circle, so none of them has a value" $state.path (join ", " (sortAlpha (uniq .above)))) -}}
{{- else if not (hasKey $state.seen $name) -}}
{{- if kindIs "string" $value -}}
{{- include "dask.checkText" (dict "path" (printf "%s.%s" $state.path $name) "text" $value) -}}
{{- range regexFindAll "[$]+[(][-._a-zA-Z][-._a-zA-Z0-9]*[)]" $value -1 -}}
{{- $dollars := regexFind "^[$]+" . | len -}}
{{- $other := trimSuffix ")" (regexReplaceAll "^[$]+[(]" . "") -}}
{{- if and (eq (mod $dollars 2) 1) (hasKey $state.env $other) -}}
{{- include "dask.variable" (dict "state" $state "name" $other "above" $above) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $_ := set $state.seen $name true -}}
{{- $variable := dict "name" $name -}}
{{- if kindIs "map" $value -}}
{{- include "dask.merge" (dict "into" $variable "from" $value) -}}
{{- else if or (kindIs "string" $value) (kindIs "bool" $value) -}}
{{- $_ := set $variable "value" (toString $value) -}}
{{- else -}}
{{- $number := float64 $value -}}
{{- if or (ne (floor $number) $number) (ge $number 9007199254740992.0) (le $number -9007199254740992.0) -}}
{{- fail (printf "%s.%s: YAML reads a number (%v) of which it may have dropped or changed digits; quote it" $state.path $name $value) -}}
{{- end -}}
{{- $_ := set $variable "value" (toJson $value) -}}
{{- end -}}
{{- $_ := set $state "items" (append $state.items $variable) -}}
{{- end -}}
{{- end -}}

{{/*
dask.checkKeys: refuses keys that YAML has taken for something else: `N`, `no`, `off`, `y` and `on` arrive as false and true, `~` as null.
*/}}
{{- define "dask.checkKeys" -}}
{{- range $key, $_ := .values | default dict -}}
{{- if has $key (list "true" "false" "null") -}}
{{- fail (printf "%s: YAML takes a key for %s (N, NO, off, y, ON and the like are truth values, ~ is null); quote it" $.path $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
