{{/* What only the client has: which Secret holds its token, and its options. */}}

{{- define "client.tokenSecret" -}}
{{- if .Values.token.existingSecret -}}
{{- .Values.token.existingSecret -}}
{{- else -}}
{{- include "sluiceway.fullname" . }}-token
{{- end -}}
{{- end -}}

{{/* What cannot work is refused here, with what to do. */}}
{{- define "client.check" -}}
{{- if not .Values.url -}}
{{- fail "url: give the server, such as [wss://tunnel.example.com:8123]" -}}
{{- end -}}
{{- if not (or .Values.token.existingSecret .Values.token.value) -}}
{{- fail "token: give token.existingSecret or token.value" -}}
{{- end -}}
{{- if and .Values.token.existingSecret .Values.token.value -}}
{{- fail "token: give token.existingSecret or token.value, not both" -}}
{{- end -}}
{{- if not (concat .Values.upstreams .Values.tcp .Values.udp .Values.tlsPassthrough .Values.local) -}}
{{- fail "a client needs a tunnel: give upstreams, tcp, udp, tlsPassthrough or local" -}}
{{- end -}}
{{- if and .Values.localService.enabled (not .Values.local) -}}
{{- fail "localService: leads to the ports of local, and there are none" -}}
{{- end -}}
{{- range .Values.local -}}
{{- if regexMatch "^0?9124:" . -}}
{{- fail (printf "local: %q has the port of the client's own endpoint, metrics-addr [::]:9124; give another port" .) -}}
{{- end -}}
{{- end -}}
{{- if eq (int (index .Values.config "local-socks")) 9124 -}}
{{- fail "config.local-socks: 9124 is the port of the client's own endpoint, metrics-addr [::]:9124; give another port" -}}
{{- end -}}
{{- range list "config" "url" "upstream" "tcp" "udp" "tls-passthrough" "local" "local-addr" "token" "token-file" "token-env" "auto-tls-fingerprint" "tls-ca" "drain-timeout" "status-dir" "metrics-addr" -}}
{{- if hasKey $.Values.config . -}}
{{- fail (printf "config.%s is set by the chart: see its own values" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Lists go into the file: their values may hold the commas that separate them in a variable. */}}
{{- define "client.options" -}}
url:
  {{- toYaml .Values.url | nindent 2 }}
{{- range $key, $values := dict "upstream" .Values.upstreams "tcp" .Values.tcp "udp" .Values.udp "tls-passthrough" .Values.tlsPassthrough "local" .Values.local "auto-tls-fingerprint" .Values.tls.fingerprints }}
{{- with $values }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- if .Values.localService.enabled }}
local-addr: 0.0.0.0
{{- end }}
token-file: /etc/sluiceway/token/token
{{- if .Values.tls.caSecret }}
tls-ca: /etc/sluiceway/ca/ca.crt
{{- end }}
drain-timeout: {{ printf "%ds" (int .Values.drainTimeoutSeconds) }}
metrics-addr: "[::]:9124"
{{- with .Values.config }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The port on which a local forward listens: the number that stands first. */}}
{{- define "client.localPort" -}}
{{- regexFind "^[0-9]+" . -}}
{{- end -}}
