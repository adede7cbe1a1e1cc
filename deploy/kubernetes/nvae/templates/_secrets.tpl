{{/* A value of stores.secret, which has to be there without an existing Secret. */}}
{{- define "nvae.given" -}}
{{- $reason := printf "stores.existingSecret, or stores.secret.%s, is needed" .name -}}
{{- required $reason (get .root.Values.stores.secret .name) -}}
{{- end -}}

{{/* What the services read: all but the first API key. */}}
{{- define "nvae.storesSecret" -}}
NVAE_DATABASE_URL: {{ include "nvae.given" (dict "root" . "name" "databaseUrl") | quote }}
NVAE_BROKER_URL: {{ include "nvae.given" (dict "root" . "name" "brokerUrl") | quote }}
NVAE_S3_ACCESS_KEY: {{ include "nvae.given" (dict "root" . "name" "s3AccessKey") | quote }}
NVAE_S3_SECRET_KEY: {{ include "nvae.given" (dict "root" . "name" "s3SecretKey") | quote }}
{{- end -}}

{{/* Pods that read the chart's own Secret are replaced when it changes. */}}
{{- define "nvae.secretChecksum" -}}
{{- if .Values.stores.existingSecret -}}
nvae/stores: {{ .Values.stores.existingSecret | quote }}
{{- else -}}
nvae/stores: {{ include "nvae.storesSecret" . | sha256sum | quote }}
{{- end -}}
{{- end -}}
