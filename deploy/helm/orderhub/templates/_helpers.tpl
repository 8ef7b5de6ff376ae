{{/* The name that the objects' names begin with. */}}
{{- define "orderhub.fullname" -}}
{{- if contains "orderhub" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-orderhub" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The labels that select a program's pods. Of: root, program. */}}
{{- define "orderhub.selector" -}}
app.kubernetes.io/name: {{ .program }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{- define "orderhub.labels" -}}
{{ include "orderhub.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: orderhub
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* Name and labels of an object of a program. Of: root, program, component. */}}
{{- define "orderhub.metadata" -}}
name: {{ include "orderhub.fullname" .root }}-{{ .program }}
labels:
  {{- include "orderhub.labels" . | nindent 2 }}
{{- end -}}

{{/*
A pod of one container. Of:
  root, program, component: as above
  values:  the program's values
  image:   the image's name, if it is not the program's
  args:    the container's arguments
  shared:  further values with settings, secrets and files, such as those of Kafka
  ports:   names and numbers; without any the pod is a job's
  volumes, mounts: further ones
*/}}
{{- define "orderhub.pod" -}}
{{- $root := .root -}}
{{- $settings := dict -}}
{{- $sources := list -}}
{{- range $from := concat (list (dict "settings" $root.Values.settings)) (.shared | default list) (list .values) -}}
{{- range $name, $value := $from.settings -}}{{- $_ := set $settings $name (toString $value) -}}{{- end -}}
{{- range $name, $source := $from.secrets -}}
{{- $_ := set $settings (printf "%s_FILE" $name) (printf "/run/orderhub/%s" $name) -}}
{{- $sources = append $sources (dict "path" $name "source" $source) -}}
{{- end -}}
{{- range $name, $source := $from.files -}}
{{- $_ := set $settings $name (printf "/run/orderhub/%s" $name) -}}
{{- $sources = append $sources (dict "path" $name "source" $source) -}}
{{- end -}}
{{- end -}}
{{- $image := $root.Values.image -}}
{{- $imageName := .image | default .program -}}
{{- $v := .values -}}
automountServiceAccountToken: false
{{- with $root.Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with $image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- if .ports }}
# More than STOP_TIMEOUT (10 s): what is in progress is finished.
terminationGracePeriodSeconds: 30
{{- else }}
restartPolicy: OnFailure
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- if .ports }}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "orderhub.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- with $v.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
containers:
  - name: {{ .program }}
    image: {{ printf "%s/%s" $image.repository $imageName }}{{ with get $image.digests $imageName }}@{{ . }}{{ else }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ end }}
    imagePullPolicy: {{ $image.pullPolicy }}
    {{- with .args }}
    args:
      {{- range . }}
      - {{ . | quote }}
      {{- end }}
    {{- end }}
    {{- if $settings }}
    env:
      {{- range $name, $value := $settings }}
      - {name: {{ $name }}, value: {{ $value | quote }}}
      {{- end }}
    {{- end }}
    {{- with .ports }}
    ports:
      {{- range $name, $number := . }}
      - {name: {{ $name }}, containerPort: {{ $number }}}
      {{- end }}
    # Alive is a process that answers: one that waits for Kafka or PostgreSQL is not helped
    # by a restart.
    livenessProbe:
      httpGet: {path: /livez, port: admin}
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 6
    readinessProbe:
      httpGet: {path: /readyz, port: admin}
      periodSeconds: 2
      timeoutSeconds: 2
    {{- if hasKey . "http" }}
    lifecycle:
      # The endpoints forget the pod before it stops listening.
      preStop:
        sleep: {seconds: 5}
    {{- end }}
    {{- end }}
    resources: {{- toYaml $v.resources | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    {{- if or $sources .mounts }}
    volumeMounts:
      {{- if $sources }}
      - {name: files, mountPath: /run/orderhub, readOnly: true}
      {{- end }}
      {{- with .mounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- end }}
{{- if or $sources .volumes }}
volumes:
  {{- if $sources }}
  # Not by subPath: changed secrets and certificates reach the running program.
  - name: files
    projected:
      defaultMode: 0440
      sources:
        {{- range $sources }}
        - {{ if .source.secret }}secret{{ else }}configMap{{ end }}:
            name: {{ .source.secret | default .source.configMap }}
            items: [{key: {{ .source.key }}, path: {{ .path }}}]
        {{- end }}
  {{- end }}
  {{- with .volumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* At most one pod of a program is drained at a time; one that is not ready blocks nothing. */}}
{{- define "orderhub.pdb" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "orderhub.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "orderhub.selector" . | nindent 6 }}
{{- end -}}

{{/* The pods' annotations: a change of the rules replaces the pods. Of: root, values. */}}
{{- define "orderhub.podAnnotations" -}}
{{- if .root.Values.rules }}
orderhub/rules: {{ .root.Values.rules | toYaml | sha256sum }}
{{- end }}
{{- with .values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The rules of fields, as a source of settings, secrets and files. */}}
{{- define "orderhub.rules" -}}
{{- if .Values.rules }}
files:
  INGEST_RULES_FILE: {configMap: {{ include "orderhub.fullname" . }}-rules, key: rules.yaml}
{{- else }}
{}
{{- end }}
{{- end -}}

{{/* Service, Ingress and HTTPRoute of a web program. Of: root, program, component, values, port. */}}
{{- define "orderhub.web" -}}
{{- $name := printf "%s-%s" (include "orderhub.fullname" .root) .program -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "orderhub.metadata" . | nindent 2 }}
  {{- with .values.service.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ .values.service.type }}
  selector:
    {{- include "orderhub.selector" . | nindent 4 }}
  ports:
    - {name: http, port: {{ .values.service.port }}, targetPort: http}
{{- with .values.ingress }}
{{- if .enabled }}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "orderhub.metadata" $ | nindent 2 }}
  {{- with .annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with .className }}
  ingressClassName: {{ . }}
  {{- end }}
  rules:
    - host: {{ required (printf "%s.ingress.host is the host name under which people reach it" $.component) .host }}
      http:
        paths:
          - path: {{ .path }}
            pathType: Prefix
            backend:
              service:
                name: {{ $name }}
                port: {name: http}
  {{- with .tlsSecret }}
  tls:
    - hosts: [{{ $.values.ingress.host }}]
      secretName: {{ . }}
  {{- end }}
{{- end }}
{{- end }}
{{- with .values.httpRoute }}
{{- if .enabled }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  {{- include "orderhub.metadata" $ | nindent 2 }}
spec:
  parentRefs: {{- toYaml (required (printf "%s.httpRoute.parentRefs names the gateway" $.component) .parentRefs) | nindent 4 }}
  {{- with .hostnames }}
  hostnames: {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    - matches:
        - path: {type: PathPrefix, value: {{ .path }}}
      backendRefs:
        - {name: {{ $name }}, port: {{ $.values.service.port }}}
      # Streams of changes stay open.
      timeouts: {request: 0s}
{{- end }}
{{- end }}
{{- end -}}
