"""Llama 3, and the later ones that know tools. Pure.

A call is the whole answer and begins with a brace: that is how a server knows it.
"""

from orchestrator.families import Family

_STOPS = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]

_PLAIN = """\
{{- range $i, $message := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}<|start_header_id|>{{ .Role }}<|end_header_id|>

{{ .Content }}
{{- if ne .Role "assistant" }}<|eot_id|>
{{- if $last }}<|start_header_id|>assistant<|end_header_id|>

{{ end }}
{{- else if not $last }}<|eot_id|>
{{- end }}
{{- end }}"""

_WITH_TOOLS = """\
{{- $asked := -1 }}
{{- range $i, $message := .Messages }}
{{- if eq $message.Role "user" }}{{ $asked = $i }}{{ end }}
{{- end }}
{{- if or .System .Tools }}<|start_header_id|>system<|end_header_id|>
{{ if .Tools }}
Environment: ipython
{{- end }}
Cutting Knowledge Date: December 2023

{{ .System }}<|eot_id|>
{{- end }}
{{- range $i, $message := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}<|start_header_id|>user<|end_header_id|>

{{ if and $.Tools (eq $i $asked) }}Given the following functions, please respond with a JSON for \
a function call with its proper arguments that best answers the given prompt.

Respond in the format {"name": function name, "parameters": dictionary of argument name and its \
value}. Do not use variables.

{{ range $.Tools }}{"type": "function", "function": {{ .Function }}}

{{ end }}
{{- end }}{{ .Content }}<|eot_id|>
{{- else if eq .Role "assistant" }}<|start_header_id|>assistant<|end_header_id|>

{{ if .ToolCalls }}{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "parameters": \
{{ .Function.Arguments }}}{{ end }}{{ else }}{{ .Content }}{{ end }}
{{- if not $last }}<|eot_id|>{{ end }}
{{- else if eq .Role "tool" }}<|start_header_id|>ipython<|end_header_id|>

{{ .Content }}<|eot_id|>
{{- end }}
{{- if and $last (ne .Role "assistant") }}<|start_header_id|>assistant<|end_header_id|>

{{ end }}
{{- end }}"""

LLAMA3 = Family(name="llama3", template=_PLAIN, parameters={"stop": _STOPS})
LLAMA31 = Family(name="llama3.1", template=_WITH_TOOLS, parameters={"stop": _STOPS}, tools=True)
