{{/*
dask.quantity: a quantity of Kubernetes (4Gi, 500m, 1e3, 2) as a plain number, to be compared.
*/}}
{{- define "dask.quantity" -}}
{{- $text := ternary . (toJson .) (kindIs "string" .) -}}
{{- $factors := dict "n" 1e-9 "u" 1e-6 "m" 1e-3 "" 1.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 -}}
{{- if regexMatch "[eE][+-]?[0-9]+$" $text -}}
{{- printf "%.9f" (float64 (trimPrefix "+" $text)) -}}
{{- else -}}
{{- printf "%.9f" (mulf (float64 (regexFind "[0-9.]+" $text)) (get $factors (regexFind "[A-Za-z]*$" $text))) -}}
{{- end -}}
{{- end -}}

{{/*
dask.bytes: a memory limit of Dask (4GiB, 4 GB, 4e9) as a plain number; nothing for what is none: auto, or a share of the memory.
*/}}
{{- define "dask.bytes" -}}
{{- $text := ternary . (toJson .) (kindIs "string" .) | lower | replace " " "" -}}
{{- $factors := dict "" 1.0 "k" 1e3 "m" 1e6 "g" 1e9 "t" 1e12 "p" 1e15 "ki" 1024.0 "mi" 1048576.0 "gi" 1073741824.0 "ti" 1099511627776.0 "pi" 1125899906842624.0 -}}
{{- if ne $text "auto" -}}
{{- $unit := regexFind "[a-z]*$" $text | trimSuffix "b" -}}
{{- $bytes := mulf (float64 (regexFind "^[0-9.]+(e[+-]?[0-9]+)?" $text)) (get $factors $unit) -}}
{{- if ge $bytes 1.0 -}}{{- printf "%.9f" $bytes -}}{{- end -}}
{{- end -}}
{{- end -}}

{{/*
dask.memoryWord: a quantity as Dask reads it, which knows neither thousandths nor exa.
*/}}
{{- define "dask.memoryWord" -}}
{{- $text := ternary . (toJson .) (kindIs "string" .) -}}
{{- if regexMatch "[0-9.](n|u|m|E|Ei)$" $text -}}
{{- printf "%.0f" (floor (float64 (include "dask.quantity" .))) -}}
{{- else -}}
{{- $text -}}
{{- end -}}
{{- end -}}

{{/*
dask.checkAmounts: refuses a container of which Kubernetes would take no Pod, or which it would end before Dask takes care of its memory.
.resources are those of the finished container, .memoryLimit that of the values, if any.
*/}}
{{- define "dask.checkAmounts" -}}
{{- $resources := .resources | default dict -}}
{{- $limits := $resources.limits | default dict -}}
{{- range $name, $request := $resources.requests -}}
{{- $limit := get $limits $name -}}
{{- if and (hasKey $limits $name) (gt (float64 (include "dask.quantity" $request)) (float64 (include "dask.quantity" $limit))) -}}
{{- fail (printf "%s.resources: requests.%s (%v) is above limits.%s (%v), which Kubernetes refuses" $.path $name $request $name $limit) -}}
{{- end -}}
{{- end -}}
{{- if and (hasKey . "memoryLimit") (hasKey $limits "memory") -}}
{{- with include "dask.bytes" .memoryLimit -}}
{{- if gt (float64 .) (float64 (include "dask.quantity" $limits.memory)) -}}
{{- fail (printf "%s: memoryLimit (%v) is above resources.limits.memory (%v): Kubernetes would end the worker before Dask spills or pauses" $.path $.memoryLimit $limits.memory) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
