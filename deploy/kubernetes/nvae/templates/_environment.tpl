{{/* One variable from a Secret: (dict "secret" NAME "key" KEY). */}}
{{- define "nvae.fromSecret" -}}
- name: {{ .key }}
  valueFrom:
    secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}
{{- end -}}

{{/* Where the stores are, which every service needs: (dict "root" $ "secret" NAME). */}}
{{- define "nvae.storesEnvironment" -}}
{{- $secret := .secret | default (include "nvae.secretName" .root) -}}
{{- with .root.Values -}}
{{- range $key := list "NVAE_DATABASE_URL" "NVAE_BROKER_URL" "NVAE_S3_ACCESS_KEY" "NVAE_S3_SECRET_KEY" }}
{{ include "nvae.fromSecret" (dict "secret" $secret "key" $key) }}
{{- end }}
- {name: NVAE_DATABASE_POOL_SIZE, value: {{ .stores.databasePoolSize | quote }}}
- {name: NVAE_S3_BUCKET, value: {{ .stores.s3.bucket | quote }}}
- {name: NVAE_S3_REGION, value: {{ .stores.s3.region | quote }}}
{{- with .stores.s3.endpointUrl }}
- {name: NVAE_S3_ENDPOINT_URL, value: {{ . | quote }}}
{{- end }}
{{- with .stores.s3.publicEndpointUrl }}
- {name: NVAE_S3_PUBLIC_ENDPOINT_URL, value: {{ . | quote }}}
{{- end }}
- {name: NVAE_S3_PRESIGNED_URL_SECONDS, value: {{ .stores.s3.presignedUrlSeconds | int64 | quote }}}
- {name: NVAE_S3_DOWNLOADS, value: {{ .stores.s3.downloads | quote }}}
- {name: NVAE_LEASE_SECONDS, value: {{ .lease.seconds | quote }}}
- {name: NVAE_LEASE_OUTAGE_GRACE_SECONDS, value: {{ .lease.outageGraceSeconds | quote }}}
{{- end }}
{{- end -}}

{{/* The root file system is read-only: what writes beside the data folder goes to /tmp. */}}
{{- define "nvae.homeEnvironment" -}}
- {name: HOME, value: /tmp}
- {name: USER, value: nvae}
{{- end -}}
