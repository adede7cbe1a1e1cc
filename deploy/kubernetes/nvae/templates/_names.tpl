{{/* The name of everything in the release: its own, with the chart's unless that is in it. Short,
since the longest name, of a StatefulSet, may have 52 characters. */}}
{{- define "nvae.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 26 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 26 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects the pods of a part: (dict "root" $ "component" "api"). */}}
{{- define "nvae.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of everything: the same argument. */}}
{{- define "nvae.labels" -}}
{{ include "nvae.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* An image: (dict "root" $ "image" .Values.images.api). */}}
{{- define "nvae.image" -}}
image: {{ printf "%s:%s" .image.repository (.image.tag | default .root.Chart.AppVersion) | quote }}
imagePullPolicy: {{ .root.Values.images.pullPolicy }}
{{- end -}}

{{/* The Secret that the services read. */}}
{{- define "nvae.secretName" -}}
{{- .Values.stores.existingSecret | default (printf "%s-stores" (include "nvae.name" .)) -}}
{{- end -}}

{{/* What a worker pool is: its own keys, and the defaults' for all others. (dict "root" $ "pool" …) */}}
{{- define "nvae.pool" -}}
{{- $pool := deepCopy .pool -}}
{{- range $key, $value := .root.Values.worker.poolDefaults -}}
{{- if not (hasKey $pool $key) -}}
{{- $_ := set $pool $key $value -}}
{{- end -}}
{{- end -}}
{{- toJson $pool -}}
{{- end -}}

{{/* What is shown outside, by the way it is matched; /metrics and /readyz need no key, and stay inside. */}}
{{- define "nvae.paths" -}}
{"/v1": "Prefix", "/docs": "Prefix", "/openapi.json": "Exact", "/healthz": "Exact"}
{{- end -}}
