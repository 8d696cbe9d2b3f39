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
dask.inheritImage: fills in what the image of a group or a job (in .values) does not say itself, from that of its cluster (in .cluster): the
repository, and its tag. A digest is never inherited, nor a tag beside a digest or another repository: they would be those of another image.
*/}}
{{- define "dask.inheritImage" -}}
{{- $own := .values.image | default dict -}}
{{- if include "dask.image" $own -}}
{{- $image := dict -}}
{{- include "dask.merge" (dict "into" $image "from" (pick (.cluster.image | default dict) "repository" "tag")) -}}
{{- $repository := "ghcr.io/dask/dask" -}}
{{- $others := ne (toString ($own.repository | default $image.repository | default $repository)) (toString ($image.repository | default $repository)) -}}
{{- if or $others (and $own.digest (not $own.tag)) -}}{{- $_ := unset $image "tag" -}}{{- end -}}
{{- range $key, $value := $own -}}
{{- if $value -}}{{- $_ := set $image $key $value -}}{{- end -}}
{{- end -}}
{{- $_ := set .values "image" $image -}}
{{- include "dask.checkImage" (dict "path" .path "image" $image) -}}
{{- end -}}
{{- end -}}

{{/*
dask.checkImage: refuses an image that would be another one tomorrow, or none.
*/}}
{{- define "dask.checkImage" -}}
{{- $image := .image | default dict -}}
{{- with $image.repository -}}
{{- if regexMatch "@|:[^/]*$" . -}}
{{- fail (printf "%s.image.repository: %s holds a tag or digest; write it as image.tag (in quotes) or image.digest" $.path .) -}}
{{- else if not (or $image.tag $image.digest) -}}
{{- fail (printf "%s.image: %s has neither tag nor digest, so it would be whatever is the latest; give image.tag, in quotes" $.path .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
