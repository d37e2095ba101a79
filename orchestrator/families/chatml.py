"""ChatML, and what Qwen says in it: tools, thoughts, the middle of a file. Pure.

A server finds the marks of thoughts and of calls in the template's tree: `.Thinking` alone between
two texts within a range over `.Messages`; the first text below an `if .ToolCalls`, which therefore
may begin with nothing else. That `.Content` is there as well is asked with `len` for that reason.
"""

STOPS = ["<|im_start|>", "<|im_end|>"]

PLAIN = """\
{{- range $i, $message := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}<|im_start|>{{ .Role }}
{{ .Content }}
{{- if ne .Role "assistant" }}<|im_end|>
{{ if $last }}<|im_start|>assistant
{{ end }}
{{- else if not $last }}<|im_end|>
{{ end }}
{{- end }}"""
"""Every message as it stands; a last one of the assistant is one to go on with."""

_TOOLS = """\
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{{- range .Tools }}
{"type": "function", "function": {{ .Function }}}
{{- end }}
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>"""

_ASKED = """\
{{- $asked := -1 }}
{{- range $i, $message := .Messages }}
{{- if eq $message.Role "user" }}{{ $asked = $i }}{{ end }}
{{- end }}"""

_SYSTEM = """\
{{- if or .System .Tools }}<|im_start|>system
{{ .System }}
{{- if .Tools }}{{ if .System }}

{{ end }}%(tools)s
{{- end }}<|im_end|>
{{ end }}"""

_DEFAULT_SYSTEM = """\
<|im_start|>system
{{ if .System }}{{ .System }}{{ else }}%(default)s{{ end }}
{{- if .Tools }}

%(tools)s
{{- end }}<|im_end|>{{ "\\n" }}"""

_TURNS = """\
{{- range $i, $message := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}%(switch)s<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
%(thought)s{{ .Content }}
{{- if and .Content (len .ToolCalls) }}
{{ end }}
{{- if .ToolCalls }}
{{- range $j, $call := .ToolCalls }}<tool_call>
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
</tool_call>
{{- if gt (len (slice $message.ToolCalls $j)) 1 }}
{{ end }}
{{- end }}
{{- end }}
{{- if not $last }}<|im_end|>
{{ end }}
{{- else if eq .Role "tool" }}<|im_start|>user
<tool_response>
{{ .Content }}
</tool_response><|im_end|>
{{ end }}
{{- if and $last (ne .Role "assistant") }}<|im_start|>assistant
%(unthought)s{{ end }}
{{- end }}"""

_SWITCH = """\
{{ if and $.IsThinkSet (eq $i $asked) }}{{ if $.Think }} /think{{ else }} /no_think{{ end }}\
{{ end }}"""

_THOUGHT = """\
{{ if and $.IsThinkSet .Thinking (or $last (gt $i $asked)) }}<think>
{{ .Thinking }}
</think>

{{ end }}"""

_UNTHOUGHT = """\
{{ if and $.IsThinkSet (not $.Think) }}<think>

</think>

{{ end }}"""


def qwen(*, default_system: str = "", thinking: bool = False, switch: bool = False) -> str:
    """Return the template of a Qwen with tools.

    `default_system` is what it is told when nobody tells it anything. A model with a `switch` was
    trained to follow "/think" and "/no_think" at the end of a question.
    """
    system = _DEFAULT_SYSTEM if default_system else _SYSTEM
    turns = {
        "switch": _SWITCH if switch else "",
        "thought": _THOUGHT if thinking else "",
        "unthought": _UNTHOUGHT if thinking else "",
    }
    return (
        (_ASKED if thinking else "")
        + system % {"default": default_system, "tools": _TOOLS}
        + _TURNS % turns
    )


def with_insert(template: str) -> str:
    """Return a template that fills the middle of a file too, in Qwen2.5-Coder's tokens."""
    middle = "<|fim_prefix|>{{ .Prompt }}<|fim_suffix|>{{ .Suffix }}<|fim_middle|>"
    return "{{- if .Suffix }}" + middle + "{{- else }}" + template + "{{- end }}"
