"""DeepSeek-R1 and its distillations, whatever they were distilled into. Pure.

The tokenizer puts the begin of a sentence itself. Old thoughts are left out of a conversation, as
R1 was trained. The prompt does not open the thought, though the model's own jinja does: a server
of 0.9.3 tells thoughts from answers by the `<think>` that the model writes.
"""

from orchestrator.families import Family

# ruff: noqa: RUF001 - R1's tokens are written with full-width bars
_TEMPLATE = """\
{{- .System }}
{{- range $i, $message := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}<｜User｜>{{ .Content }}
{{- else if eq .Role "assistant" }}<｜Assistant｜>
{{- if and $last $.IsThinkSet .Thinking }}<think>
{{ .Thinking }}
</think>
{{ end }}{{ .Content }}
{{- if not $last }}<｜end▁of▁sentence｜>{{ end }}
{{- end }}
{{- if and $last (ne .Role "assistant") }}<｜Assistant｜>
{{- if and $.IsThinkSet (not $.Think) }}<think>

</think>

{{ end }}
{{- end }}
{{- end }}"""

_STOPS = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>")

R1 = Family(
    name="deepseek-r1",
    template=_TEMPLATE,
    parameters={
        "stop": list(_STOPS),
        "temperature": 0.6,
        "top_p": 0.95,
    },
    thinking=True,
)
