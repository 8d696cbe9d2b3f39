{{/*
dask.program: reads the words of a container as they are run. Puts into .out
  starts: true where a program among them starts Dask's .component, `worker`, `scheduler` or `(?:worker|scheduler)`
  behind:  how many words stand up to the end of that program; 0 where it stands in a text for a shell, or nowhere
  deaf:   true where a shell gets a text that does not hand on the words behind it
Only a word that is run counts: hosts, files, names and values of options are called like these programs, too. What cannot be known is taken
for something else.
*/}}
{{- define "dask.program" -}}
{{- $words := concat (.command | default list) (.args | default list) -}}
{{- $state := dict "next" "program" "skip" 0 "own" 0 "flags" "" "weak" false -}}
{{- range $at, $word := $words -}}
  {{- $word = toString $word -}}
  {{- $state = set $state "program" false -}}
  {{- if and (eq $at (len ($.command | default list))) (gt $at 0) (eq $state.next "none") -}}
    {{- /* args of a program that nobody knows: two words say it, one may be a host. */ -}}
    {{- $_ := set $state "next" "program" -}}
    {{- $_ := set $state "weak" true -}}
  {{- end -}}
  {{- if gt (int $state.skip) 0 -}}
    {{- $_ := set $state "skip" (sub (int $state.skip) 1) -}}
  {{- else if and (eq $at 0) (regexMatch `\s` $word) -}}
    {{- /* The image's own entrypoint is a shell. */ -}}
    {{- $_ := set $state "next" "none" -}}
    {{- if include "dask.textStarts" (dict "text" $word "component" $.component) -}}{{- $_ := set $.out "starts" true -}}{{- end -}}
  {{- else if eq $state.next "text" -}}
    {{- if include "dask.textStarts" (dict "text" $word "component" $.component) -}}{{- $_ := set $.out "starts" true -}}{{- end -}}
    {{- $_ := set $state "next" (ternary "zero" "none" (regexMatch `[$][{]?[@*]` $word)) -}}
    {{- if eq $state.next "none" -}}{{- $_ := set $.out "deaf" true -}}{{- end -}}
  {{- else if eq $state.next "zero" -}}
    {{- $_ := set $state "next" "program" -}}
  {{- else if eq $state.next "shell" -}}
    {{- if regexMatch "^-[a-z]*c$" $word -}}
      {{- $_ := set $state "next" "text" -}}
    {{- else if has $word (list "-o" "+o" "--rcfile" "--init-file") -}}
      {{- $_ := set $state "skip" 1 -}}
    {{- else if not (regexMatch "^[-+]" $word) -}}
      {{- $_ := set $state "program" true -}}
    {{- end -}}
  {{- else if eq $state.next "user" -}}
    {{- if regexMatch "^-[a-z]*c$" $word -}}{{- $_ := set $state "next" "text" -}}{{- end -}}
  {{- else if eq $state.next "run" -}}
    {{- if eq $word "run" -}}
      {{- $_ := set $state "next" "starter" -}}
    {{- else if not (hasPrefix "-" $word) -}}
      {{- $_ := set $state "next" "none" -}}
    {{- end -}}
  {{- else if eq $state.next "python" -}}
    {{- if eq $word "-m" -}}
      {{- $_ := set $state "next" "module" -}}
    {{- else if eq $word "-c" -}}
      {{- $_ := set $state "next" "none" -}}
    {{- else if has $word (list "-W" "-X") -}}
      {{- $_ := set $state "skip" 1 -}}
    {{- else if not (hasPrefix "-" $word) -}}
      {{- $_ := set $state "program" true -}}
    {{- end -}}
  {{- else if eq $state.next "module" -}}
    {{- $_ := set $state "next" "end" -}}
    {{- if regexMatch (printf "^(distributed|dask_cuda)[.]cli[.]dask_(cuda_)?%s$" $.component) $word -}}
      {{- $_ := set $.out "starts" true -}}
      {{- $_ := set $.out "behind" (add $at 1) -}}
    {{- else if eq $word "dask" -}}
      {{- $_ := set $state "program" true -}}
    {{- end -}}
  {{- else if eq $state.next "starter" -}}
    {{- if eq $word "--" -}}
      {{- $_ := set $state "weak" false -}}
    {{- else if and (hasPrefix "-" $word) (gt (len $word) 1) -}}
      {{- $value := has $word (list "--name" "--prefix" "--cwd" "--user" "--group" "--chdir" "--unset" "--environment" "--project" "--kill-after" "--signal") -}}
      {{- if regexMatch "^-[A-Za-z]$" $word -}}{{- $value = not (contains (trimPrefix "-" $word) $state.flags) -}}{{- end -}}
      {{- if $value -}}{{- $_ := set $state "skip" 1 -}}{{- end -}}
    {{- else if gt (int $state.own) 0 -}}
      {{- $_ := set $state "own" (sub (int $state.own) 1) -}}
    {{- else if not (or (eq $word "-") (regexMatch "^[A-Za-z_][A-Za-z0-9_]*=" $word)) -}}
      {{- $_ := set $state "program" true -}}
    {{- end -}}
  {{- else if eq $state.next "program" -}}
    {{- if ne $word "--" -}}{{- $_ := set $state "program" true -}}{{- end -}}
  {{- else if and (eq $state.next "none") (has $word (list "--" "exec")) -}}
    {{- $_ := set $state "next" "program" -}}
    {{- $_ := set $state "weak" false -}}
  {{- end -}}
  {{- if $state.program -}}
    {{- include "dask.readProgram" (dict "state" $state "at" $at "words" $words "component" $.component "out" $.out) -}}
  {{- end -}}
{{- end -}}
{{- if eq $state.next "text" -}}{{- $_ := set .out "deaf" true -}}{{- end -}}
{{- end -}}

{{/*
dask.readProgram: what stands behind the word that is run, .words[.at], into .state; what it starts, into .out.
*/}}
{{- define "dask.readProgram" -}}
{{- $name := regexReplaceAll "^.*/" (toString (index .words .at)) "" -}}
{{- $own := dict "tini" 0 "tini-static" 0 "dumb-init" 0 "catatonit" 0 "env" 0 "exec" 0 "command" 0 "nohup" 0 "nice" 0 "ionice" 0 "time" 0 "stdbuf" 0 "setsid" 0 "numactl" 0 "xvfb-run" 0 "sudo" 0 "setpriv" 0 "eval" 0 "timeout" 1 "gosu" 1 "su-exec" 1 "taskset" 1 "chrt" 1 -}}
{{- $flags := dict "tini" "gsvw" "tini-static" "gsvw" "dumb-init" "cv" "env" "iv" "sudo" "EHnS" "exec" "cl" "conda" "v" "mamba" "v" "micromamba" "v" "time" "pv" "xvfb-run" "a" "setsid" "cfw" "taskset" "acp" "chrt" "abdfimoprv" "timeout" "v" -}}
{{- $next := "none" -}}
{{- $weak := false -}}
{{- $count := 0 -}}
{{- if eq $name "dask" -}}
  {{- $next = "end" -}}
  {{- $said := slice .words (add .at 1 | int) -}}
  {{- if eq (first $said | toString) "cuda" -}}
    {{- $count = 1 -}}
    {{- $said = rest $said -}}
  {{- end -}}
  {{- if regexMatch (printf "^%s$" .component) (first $said | toString) -}}
    {{- $_ := set .out "starts" true -}}
    {{- $_ := set .out "behind" (add .at $count 2) -}}
  {{- end -}}
{{- else if regexMatch "^dask-(cuda-)?(worker|scheduler)$" $name -}}
  {{- $next = ternary "none" "end" .state.weak -}}
  {{- if and (not .state.weak) (regexMatch (printf "^dask-(cuda-)?%s$" .component) $name) -}}
    {{- $_ := set .out "starts" true -}}
    {{- $_ := set .out "behind" (add .at 1) -}}
  {{- end -}}
{{- else if eq .state.next "python" -}}
  {{- $next = "none" -}}
{{- else if regexMatch "^python[0-9.]*$" $name -}}
  {{- $next = "python" -}}
{{- else if has $name (list "sh" "bash" "dash" "ash" "ksh" "zsh" "busybox") -}}
  {{- $next = "shell" -}}
{{- else if has $name (list "su" "runuser") -}}
  {{- $next = "user" -}}
{{- else if has $name (list "conda" "mamba" "micromamba" "pipenv" "pixi" "poetry" "uv") -}}
  {{- $next = "run" -}}
{{- else if hasKey $own $name -}}
  {{- $next = "starter" -}}
  {{- $count = get $own $name -}}
{{- else if regexMatch "^((docker-)?entrypoint|prepare|start)([.]sh)?$" $name -}}
  {{- $next = "starter" -}}
{{- else if or (hasSuffix ".sh" $name) (eq .state.next "shell") -}}
  {{- $next = "starter" -}}
  {{- $weak = true -}}
{{- end -}}
{{- $_ := set .state "next" $next -}}
{{- $_ := set .state "weak" $weak -}}
{{- $_ := set .state "own" $count -}}
{{- $_ := set .state "flags" (get $flags $name) -}}
{{- end -}}

{{/*
dask.textStarts: prints something where a command in .text, which a shell reads, starts Dask's .component.
*/}}
{{- define "dask.textStarts" -}}
{{- $begin := `(?:^|[;|({!\n]|&&|&\s|\s--\s)` -}}
{{- $options := `(?:(?:-[nupk]|--(?:name|prefix|cwd|user|group|chdir|unset))[\s=]+[^\s;&|]+\s+|-[^\s;&|]+\s+)*` -}}
{{- $starters := `(?:exec|eval|command|nohup|nice|ionice|time|env|sudo|setsid|stdbuf|numactl|tini|dumb-init|xvfb-run|then|do|else|elif|if|while|until|(?:timeout|gosu|su-exec)\s+[^\s;&|]+|(?:conda|mamba|micromamba|pipenv|pixi|poetry|uv)\s+run)` -}}
{{- $assigned := `[A-Za-z_][A-Za-z0-9_]*=(?:"[^"]*"|'[^']*'|[^\s;&|"']*)` -}}
{{- $before := printf `%s\s*(?:(?:%s\s+%s|%s\s+))*["']?(?:[^\s"';&|]*/)?` $begin $starters $options $assigned -}}
{{- $programs := `(?:dask-(?:cuda-)?COMPONENT|dask["']?\s+(?:cuda\s+)?COMPONENT|python[0-9.]*\s+(?:-[^m\s]\S*\s+)*-m\s+(?:dask\s+COMPONENT|(?:distributed|dask_cuda)[.]cli[.]dask_(?:cuda_)?COMPONENT))` | replace "COMPONENT" .component -}}
{{- if regexMatch (printf `%s%s["']?(?:$|[\s;&|)])` $before $programs) .text -}}yes{{- end -}}
{{- end -}}
