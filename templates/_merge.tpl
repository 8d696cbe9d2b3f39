{{/*
dask.merge: lays .from over .into, in place. Prints nothing.
  {{- include "dask.merge" (dict "into" $target "from" $values) }}
Maps merge, null removes the key, everything else replaces. Lists whose items have a key of their own merge
item by item: containers, initContainers, env, volumes and ports by `name`, volumeMounts by `mountPath`. Of what can have one source
only (a volume, a variable, a probe), a later source replaces the earlier one.
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
    {{- include "dask.oneSource" (dict "of" $key "old" $old "new" $value) -}}
    {{- include "dask.merge" (dict "into" $old "from" $value) -}}
  {{- else if and (kindIs "slice" $value) (hasKey $keys $key) -}}
    {{- $list := dict "items" (ternary $old list (kindIs "slice" $old)) -}}
    {{- include "dask.mergeList" (dict "list" $list "from" $value "by" (get $keys $key) "of" $key) -}}
    {{- $_ := set $.into $key $list.items -}}
  {{- else if eq $key "$patch" -}}
    {{- fail (printf "$patch: %v: only `$patch: delete` is known, in an item of a list of containers, initContainers, env, volumes, ports or volumeMounts" $value) -}}
  {{- else -}}
    {{- range ternary $value list (kindIs "slice" $value) -}}
      {{- if and (kindIs "map" .) (hasKey (ternary . dict (kindIs "map" .)) "$patch") -}}
      {{- fail (printf "%s: there is no $patch in this list, it replaces an earlier one as a whole; say the whole list" $key) -}}
      {{- end -}}
    {{- end -}}
    {{- $_ := set $.into $key $value -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/*
dask.mergeList: lays the list .from over .list.items, items with the same value of the key .by being the same item; .of is the list's
name. An item with `$patch: delete` takes that item away.
*/}}
{{- define "dask.mergeList" -}}
{{- range $item := .from -}}
  {{- $fields := ternary $item dict (kindIs "map" $item) -}}
  {{- $named := hasKey $fields $.by -}}
  {{- /* A path is the same with a slash at its end. */ -}}
  {{- $key := trimSuffix "/" (toString (get $fields $.by)) -}}
  {{- $gone := eq (toString (get $fields "$patch")) "delete" -}}
  {{- $found := false -}}
  {{- $kept := list -}}
  {{- range $old := $.list.items -}}
    {{- $same := false -}}
    {{- if and $named (not $found) (kindIs "map" $old) -}}
      {{- $same = and (hasKey $old $.by) (eq (trimSuffix "/" (toString (get $old $.by))) $key) -}}
    {{- end -}}
    {{- if $same -}}
      {{- $found = true -}}
      {{- if not $gone -}}
        {{- include "dask.oneSource" (dict "of" (printf "%s[]" $.of) "old" $old "new" $item) -}}
        {{- include "dask.merge" (dict "into" $old "from" $item) -}}
      {{- end -}}
    {{- end -}}
    {{- if not (and $same $gone) -}}{{- $kept = append $kept $old -}}{{- end -}}
  {{- end -}}
  {{- if not (or $found $gone) -}}
    {{- $new := $item -}}
    {{- if kindIs "map" $item -}}
      {{- $new = dict -}}
      {{- include "dask.merge" (dict "into" $new "from" $item) -}}
    {{- end -}}
    {{- $kept = append $kept $new -}}
  {{- end -}}
  {{- $_ := set $.list "items" $kept -}}
{{- end -}}
{{- end -}}

{{/*
dask.oneSource: takes out of .old what contradicts .new, where Kubernetes allows one of several fields only; .of is where they stand (`env[]`
is an item of env). Where the same field stands in both, they merge as always.
*/}}
{{- define "dask.oneSource" -}}
{{- $handlers := list "exec" "grpc" "httpGet" "sleep" "tcpSocket" -}}
{{- $some := dict "livenessProbe" $handlers "readinessProbe" $handlers "startupProbe" $handlers "postStart" $handlers "preStop" $handlers "env[]" (list "value" "valueFrom") -}}
{{- if or (has .of (list "valueFrom" "volumes[]")) (hasKey $some .of) -}}
  {{- $sources := get $some .of | default (without (concat (keys .old) (keys .new)) "name") -}}
  {{- range $source := $sources -}}
    {{- if and (hasKey $.new $source) (not (kindIs "invalid" (get $.new $source))) -}}
      {{- range $other := without $sources $source -}}
        {{- if not (hasKey $.new $other) -}}{{- $_ := unset $.old $other -}}{{- end -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- else if eq .of "volumeMounts[]" -}}
  {{- if and (hasKey .new "name") (ne (toString .new.name) (toString (get .old "name"))) -}}
    {{- range $key := keys .old -}}{{- $_ := unset $.old $key -}}{{- end -}}
  {{- end -}}
{{- else if and (has .of (list "seccompProfile" "appArmorProfile")) (hasKey .new "type") (ne (toString .new.type) "Localhost") -}}
  {{- $_ := unset .old "localhostProfile" -}}
{{- end -}}
{{- end -}}
