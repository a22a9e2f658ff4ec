{{/* What only the exit node has: which Secret holds what, and its pod. */}}

{{- define "server.tokenSecret" -}}
{{- if .Values.token.existingSecret -}}
{{- .Values.token.existingSecret -}}
{{- else if .Values.token.value -}}
{{- include "sluiceway.fullname" . }}-token
{{- end -}}
{{- end -}}

{{- define "server.hasCa" -}}
{{- if eq .Values.tls.mode "auto" }}yes{{ end -}}
{{- end -}}

{{/* What cannot work is refused here, with what to do. */}}
{{- define "server.check" -}}
{{- $ways := list .Values.token.existingSecret .Values.token.value .Values.token.tokensSecret | compact -}}
{{- if not $ways -}}
{{- fail "token: give token.existingSecret, token.value or token.tokensSecret: an exit node without a token would serve everybody" -}}
{{- end -}}
{{- if and .Values.token.existingSecret .Values.token.value -}}
{{- fail "token: give token.existingSecret or token.value, not both" -}}
{{- end -}}
{{- if and (eq .Values.tls.mode "secret") (not .Values.tls.secretName) -}}
{{- fail "tls: mode secret needs tls.secretName" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (not (include "server.tokenSecret" .)) -}}
{{- fail "serviceMonitor: reads /metrics with the shared token, so it needs token.existingSecret or token.value" -}}
{{- end -}}
{{- if and .Values.persistence.enabled (include "server.hasSeveral" .) -}}
{{- if eq .Values.kind "Deployment" -}}
{{- fail "persistence: replicas of a Deployment would share one volume; take kind StatefulSet" -}}
{{- end -}}
{{- if .Values.persistence.existingClaim -}}
{{- fail "persistence: replicas would share existingClaim; leave it out, and each has a claim of its own" -}}
{{- end -}}
{{- end -}}
{{- $orders := or (get .Values.config "letsencrypt-domain") (get .Values.config "letsencrypt-on-demand") -}}
{{- if and $orders (include "server.hasSeveral" .) (ne (get .Values.config "letsencrypt-challenge") "dns-01") -}}
{{- fail "config: several pods behind one Service cannot order certificates, as each answers its own challenges alone; take replicas 1, or letsencrypt-challenge dns-01 with letsencrypt-dns-hook" -}}
{{- end -}}
{{- if and .Values.service.udp.separate (not .Values.ports.udp) -}}
{{- fail "service.udp: leads to the ports of ports.udp, and there are none" -}}
{{- end -}}
{{- $own := dict "8123" "the control port" "8000" "the HTTP port of the pod" "9123" "the admin port" (toString (int .Values.ports.http)) "ports.http" -}}
{{- if .Values.ports.httpsEnabled -}}
{{- $_ := set $own (include "server.httpsPort" .) "the HTTPS port of the pod" -}}
{{- $_ := set $own (toString (int .Values.ports.https)) "ports.https" -}}
{{- end -}}
{{- range $port := .Values.ports.tcp -}}
{{- with get $own (toString (int $port)) -}}
{{- fail (printf "ports.tcp: %d is %s; no TCP tunnel can have it, so give another port" (int $port) .) -}}
{{- end -}}
{{- end -}}
{{- range list "config" "control-addr" "http-addr" "https-addr" "admin-addr" "tcp-ports" "udp-ports" "token" "token-file" "token-env" "tokens-file" "tls-cert" "tls-key" "auto-tls" "auto-tls-san" "drain-delay" "drain-timeout" -}}
{{- if hasKey $.Values.config . -}}
{{- fail (printf "config.%s is set by the chart: see ports, token, tls and drain" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* At once: what the autoscaler may make of it counts in place of replicas. */}}
{{- define "server.hasSeveral" -}}
{{- $most := ternary .Values.autoscaling.maxReplicas .Values.replicas .Values.autoscaling.enabled -}}
{{- if gt (int $most) 1 }}yes{{ end -}}
{{- end -}}

{{/* --https-redirect sends visitors to the port of its own address, which is the Service's then. */}}
{{- define "server.httpsPort" -}}
{{- $redirects := eq (toString (get .Values.config "https-redirect")) "true" -}}
{{- ternary (int .Values.ports.https) 8443 $redirects -}}
{{- end -}}

{{- define "server.hasLowPort" -}}
{{- $https := ternary (list (include "server.httpsPort" .)) list .Values.ports.httpsEnabled -}}
{{- range concat .Values.ports.tcp .Values.ports.udp $https }}{{ if lt (int .) 1024 }}yes{{ end }}{{ end -}}
{{- end -}}

{{- define "server.portList" -}}
"{{ range $index, $port := . }}{{ if $index }},{{ end }}{{ int $port }}{{ end }}"
{{- end -}}

{{- define "server.env" -}}
- name: SLUICEWAY_CONTROL_ADDR
  value: "0.0.0.0:8123"
- name: SLUICEWAY_HTTP_ADDR
  value: "0.0.0.0:8000"
- name: SLUICEWAY_HTTPS_ADDR
  value: {{ ternary (printf "0.0.0.0:%s" (include "server.httpsPort" .)) "off" .Values.ports.httpsEnabled | quote }}
- name: SLUICEWAY_ADMIN_ADDR
  value: "0.0.0.0:9123"
{{- /* Left out they would be all from 1024 on, of which no Service opens any. */}}
- name: SLUICEWAY_TCP_PORTS
  value: {{ with .Values.ports.tcp }}{{ include "server.portList" . }}{{ else }}"off"{{ end }}
- name: SLUICEWAY_UDP_PORTS
  value: {{ with .Values.ports.udp }}{{ include "server.portList" . }}{{ else }}"off"{{ end }}
{{- if include "server.tokenSecret" . }}
- name: SLUICEWAY_TOKEN_FILE
  value: /etc/sluiceway/token/token
{{- end }}
{{- if .Values.token.tokensSecret }}
- name: SLUICEWAY_TOKENS_FILE
  value: /etc/sluiceway/tokens/tokens.yaml
- name: SLUICEWAY_TOKENS_USAGE_FILE
  value: /var/lib/sluiceway/tokens-usage.json
{{- end }}
{{- if eq .Values.tls.mode "secret" }}
- name: SLUICEWAY_TLS_CERT
  value: /etc/sluiceway/tls/tls.crt
- name: SLUICEWAY_TLS_KEY
  value: /etc/sluiceway/tls/tls.key
{{- else }}
- name: SLUICEWAY_AUTO_TLS
  value: {{ eq .Values.tls.mode "auto" | quote }}
{{- end }}
{{- if and (eq .Values.tls.mode "auto") .Values.tls.names }}
- name: SLUICEWAY_AUTO_TLS_SAN
  value: {{ join "," .Values.tls.names | quote }}
{{- end }}
- name: SLUICEWAY_DRAIN_DELAY
  value: {{ printf "%ds" (int .Values.drain.delaySeconds) }}
- name: SLUICEWAY_DRAIN_TIMEOUT
  value: {{ printf "%ds" (int .Values.drain.timeoutSeconds) }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "server.pod" -}}
metadata:
  labels:
    {{- include "sluiceway.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ toYaml .Values.config | sha256sum }}
    {{- if .Values.token.value }}
    checksum/token: {{ .Values.token.value | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "sluiceway.serviceAccount" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add .Values.drain.delaySeconds .Values.drain.timeoutSeconds 10 }}
  securityContext:
    {{- include "sluiceway.podSecurity" . | nindent 4 }}
    {{- if include "server.hasLowPort" . }}
    # Some container runtimes let only root open these, and the pod has no root.
    sysctls:
      - { name: net.ipv4.ip_unprivileged_port_start, value: "0" }
    {{- end }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: server
      image: {{ include "sluiceway.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [server, --config, /etc/sluiceway/config/server.yaml]
      env:
        {{- include "server.env" . | nindent 8 }}
      ports:
        - { name: control, containerPort: 8123 }
        - { name: http, containerPort: 8000 }
        {{- if .Values.ports.httpsEnabled }}
        - { name: https, containerPort: {{ include "server.httpsPort" . }} }
        {{- end }}
        - { name: admin, containerPort: 9123 }
        {{- range .Values.ports.tcp }}
        - { name: {{ printf "tcp-%d" (int .) }}, containerPort: {{ int . }} }
        {{- end }}
        {{- range .Values.ports.udp }}
        - { name: {{ printf "udp-%d" (int .) }}, containerPort: {{ int . }}, protocol: UDP }
        {{- end }}
      livenessProbe:
        httpGet: { path: /healthz, port: admin }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: { path: /readyz, port: admin }
        periodSeconds: 3
        timeoutSeconds: 2
        failureThreshold: 1
      securityContext:
        {{- include "sluiceway.containerSecurity" . | nindent 8 }}
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - { name: state, mountPath: /var/lib/sluiceway }
        - { name: config, mountPath: /etc/sluiceway/config, readOnly: true }
        {{- if include "server.tokenSecret" . }}
        - { name: token, mountPath: /etc/sluiceway/token, readOnly: true }
        {{- end }}
        {{- if .Values.token.tokensSecret }}
        - { name: tokens, mountPath: /etc/sluiceway/tokens, readOnly: true }
        {{- end }}
        {{- if eq .Values.tls.mode "secret" }}
        - { name: tls, mountPath: /etc/sluiceway/tls, readOnly: true }
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap: { name: {{ include "sluiceway.fullname" . }} }
    {{- if include "server.tokenSecret" . }}
    - name: token
      secret:
        secretName: {{ include "server.tokenSecret" . }}
        defaultMode: 0440
        items: [{ key: {{ .Values.token.key }}, path: token }]
    {{- end }}
    {{- if .Values.token.tokensSecret }}
    - name: tokens
      secret:
        secretName: {{ .Values.token.tokensSecret }}
        defaultMode: 0440
        items: [{ key: {{ .Values.token.tokensKey }}, path: tokens.yaml }]
    {{- end }}
    {{- if eq .Values.tls.mode "secret" }}
    - name: tls
      secret: { secretName: {{ .Values.tls.secretName }}, defaultMode: 0440 }
    {{- end }}
    {{- if not .Values.persistence.enabled }}
    - name: state
      emptyDir: {}
    {{- else if .Values.persistence.existingClaim }}
    - name: state
      persistentVolumeClaim: { claimName: {{ .Values.persistence.existingClaim }} }
    {{- else if eq .Values.kind "Deployment" }}
    - name: state
      persistentVolumeClaim: { claimName: {{ include "sluiceway.fullname" . }} }
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* A claim, or a template of one. */}}
{{- define "server.claim" -}}
accessModes: [ReadWriteOnce]
{{- with .Values.persistence.storageClass }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ .Values.persistence.size }}
{{- end -}}
