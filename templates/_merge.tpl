{{/*
dask.merge: lays .from over .into, in place. Prints nothing.
  {{- include "dask.merge" (dict "into" $target "from" $values) }}
Maps merge, null removes the key, everything else replaces. Lists whose items have a key of their own merge
item by item: containers, initContainers, env, volumes and ports by `name`, volumeMounts by `mountPath`.
(Helm's merge functions take false, 0 and "" for unset or keep nulls, and printing the result would turn integers into floats.)
*/}}
{{- define "dask.merge" -}}
{{- $keys := dict "containers" "name" "initContainers" "name" "env" "name" "volumes" "name" "ports" "name" "volumeMounts" "mountPath" -}}
{{- range $key, $value := .from -}}
  {{- $old := get $.into $key -}}
  {{- if kindIs "invalid" $value -}}
    {{- $_ := unset $.into $key -}}
  {{- else if kindIs "map" $value -}}
    {{- if not (kindIs "map" $old) -}}
      {{- $old = dict -}}
      {{- $_ := set $.into $key $old -}}
    {{- end -}}
    {{- include "dask.merge" (dict "into" $old "from" $value) -}}
  {{- else if and (kindIs "slice" $value) (hasKey $keys $key) -}}
    {{- $list := dict "items" (ternary $old list (kindIs "slice" $old)) -}}
    {{- include "dask.mergeList" (dict "list" $list "from" $value "by" (get $keys $key)) -}}
    {{- $_ := set $.into $key $list.items -}}
  {{- else -}}
    {{- $_ := set $.into $key $value -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/*
dask.mergeList: lays the list .from over .list.items, items with the same value of the key .by being the same item.
*/}}
{{- define "dask.mergeList" -}}
{{- range $item := .from -}}
  {{- $found := false -}}
  {{- if and (kindIs "map" $item) (hasKey $item $.by) -}}
    {{- range $old := $.list.items -}}
      {{- if and (not $found) (kindIs "map" $old) (eq (toString (get $old $.by)) (toString (get $item $.by))) -}}
        {{- $found = true -}}
        {{- include "dask.merge" (dict "into" $old "from" $item) -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
  {{- if not $found -}}
    {{- $new := $item -}}
    {{- if kindIs "map" $item -}}
      {{- $new = dict -}}
      {{- include "dask.merge" (dict "into" $new "from" $item) -}}
    {{- end -}}
    {{- $_ := set $.list "items" (append $.list.items $new) -}}
  {{- end -}}
{{- end -}}
{{- end -}}
