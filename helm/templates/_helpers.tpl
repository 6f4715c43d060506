{{- define "margay.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "margay.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "margay.labels" -}}
{{ include "margay.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "margay.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "margay.name" .) }}
{{- else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- define "margay.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion }}
{{- .Values.image.repository }}{{ if hasPrefix "sha256:" $tag }}@{{ else }}:{{ end }}{{ $tag }}
{{- end }}

{{- /* Whether there are rules on a volume beside those of the image. */ -}}
{{- define "margay.ownRules" -}}
{{- if or .Values.rules.files .Values.rules.existingConfigMap .Values.rules.volume }}yes{{ end }}
{{- end }}

{{- /* The folders with rules, and those with log types, as JSON, which TOML takes for a list of texts. */ -}}
{{- define "margay.ruleFolders" -}}
{{- $folders := list }}
{{- if .Values.rules.builtIn }}{{ $folders = append $folders "/usr/share/margay/rules" }}{{ end }}
{{- if include "margay.ownRules" . }}{{ $folders = append $folders (printf "/etc/margay-rules/%s" .Values.rules.folder | trimSuffix "/") }}{{ end }}
{{- concat $folders .Values.rules.s3 | toJson }}
{{- end }}

{{- define "margay.logTypeFolders" -}}
{{- $folders := list }}
{{- if .Values.logTypes.files }}{{ $folders = append $folders "/etc/margay-log-types" }}{{ end }}
{{- concat $folders .Values.logTypes.s3 | toJson }}
{{- end }}

{{- /* What the schema of the values can't say. */ -}}
{{- define "margay.check" -}}
{{- if and (not .Values.state.postgres.enabled) (gt (int .Values.replicas) 1) }}
{{- fail "replicas: more than one copy needs a state that they share; set state.postgres.enabled and where the database is" }}
{{- end }}
{{- if and (not .Values.state.postgres.enabled) .Values.autoscaling.enabled }}
{{- fail "autoscaling: more than one copy needs a state that they share; set state.postgres.enabled and where the database is" }}
{{- end }}
{{- with .Values.state.postgres }}
{{- if and .enabled (eq (empty .url) (empty .urlSecret.name)) }}
{{- fail "state.postgres: give either urlSecret.name, the secret with the URL, or url" }}
{{- end }}
{{- if and .passwordSecret.name (empty .url) }}
{{- fail "state.postgres: passwordSecret is for a URL without a password, in url; the one of urlSecret has its own" }}
{{- end }}
{{- end }}
{{- if and (not .Values.rules.builtIn) (not (include "margay.ownRules" .)) (not .Values.rules.s3) }}
{{- fail "rules: give files, existingConfigMap, volume or s3, or set builtIn" }}
{{- end }}
{{- if gt (len (compact (list (ternary "f" "" (not (empty .Values.rules.files))) .Values.rules.existingConfigMap (ternary "v" "" (not (empty .Values.rules.volume)))))) 1 }}
{{- fail "rules: files, existingConfigMap and volume exclude each other" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling: minReplicas is above maxReplicas" }}
{{- end }}
{{- end }}
