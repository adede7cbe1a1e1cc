{{/* One step of the migration: (dict "root" $ "secret" NAME "module" MODULE). */}}
{{- define "nvae.migrationStep" -}}
- name: {{ .module | splitList "." | last | replace "_" "-" }}
  {{- include "nvae.image" (dict "root" .root "image" .root.Values.images.api) | nindent 2 }}
  args: [python, -m, {{ .module }}]
  env:
    {{- include "nvae.storesEnvironment" . | nindent 4 }}
    {{- if eq .module "services.api.bootstrap" }}
    {{- include "nvae.fromSecret" (dict "secret" .secret "key" "NVAE_API_BOOTSTRAP_KEY") | nindent 4 }}
    {{- end }}
    {{- include "nvae.homeEnvironment" . | nindent 4 }}
  {{- include "nvae.containerSecurity" . | nindent 2 }}
  resources: {{- toYaml .root.Values.migration.resources | nindent 4 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
{{- end -}}
