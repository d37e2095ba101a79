"""The template, the parameters and the licence that the library gives a family, true to the letter.

Stops, thinking and the filter for old thoughts depend on them; without them a stand-in proves
nothing about a chat.
"""

from dataclasses import dataclass, field
from typing import Any

# ruff: noqa: RUF001 - R1's tokens are written with full-width bars
_R1_TEMPLATE = """\
{{- if .System }}{{ .System }}{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1}}
{{- if eq .Role "user" }}<｜User｜>{{ .Content }}
{{- else if eq .Role "assistant" }}<｜Assistant｜>
  {{- if and $.IsThinkSet (and $last .Thinking) -}}
<think>
{{ .Thinking }}
</think>
{{- end }}{{ .Content }}{{- if not $last }}<｜end▁of▁sentence｜>{{- end }}
{{- end }}
{{- if and $last (ne .Role "assistant") }}<｜Assistant｜>
{{- if and $.IsThinkSet (not $.Think) -}}
<think>

</think>

{{ end }}
{{- end -}}
{{- end }}"""

_QWEN3_TEMPLATE = """\
{{- $lastUserIdx := -1 -}}
{{- range $idx, $msg := .Messages -}}
{{- if eq $msg.Role "user" }}{{ $lastUserIdx = $idx }}{{ end -}}
{{- end }}
{{- if or .System .Tools }}<|im_start|>system
{{ if .System }}{{ .System }}{{ end }}
{{- if .Tools }}

# Tools
{{- range .Tools }}
{"type": "function", "function": {{ .Function }}}
{{- end }}
{{- end -}}
<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}
{{- if and $.IsThinkSet (eq $i $lastUserIdx) }}
   {{- if $.Think -}}
      {{- " "}}/think
   {{- else -}}
      {{- " "}}/no_think
   {{- end -}}
{{- end }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if (and $.IsThinkSet (and .Thinking (or $last (gt $i $lastUserIdx)))) -}}
<think>{{ .Thinking }}</think>
{{ end -}}
{{ if .Content }}{{ .Content }}{{ end }}{{ if not $last }}<|im_end|>
{{ end }}
{{- end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ if and $.IsThinkSet (not $.Think) -}}
<think>

</think>

{{ end -}}
{{ end }}
{{- end }}"""

_CHATML_TEMPLATE = """\
{{- if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
<|im_start|>{{ .Role }}
{{ .Content }}{{ if or (ne .Role "assistant") (not $last) }}<|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ end }}
{{- end }}"""

_R1_STOPS = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>")
_CHATML_STOPS = ("<|im_start|>", "<|im_end|>")


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """What a model of the family is created with. `chat` names the tokenizer's begin and end."""

    chat: str
    template: str
    license: str
    parameters: dict[str, Any] = field(default_factory=dict)
    thinking: bool = True


R1 = Family(
    chat="r1",
    template=_R1_TEMPLATE,
    license="MIT License",
    parameters={"stop": list(_R1_STOPS), "temperature": 0.6, "top_p": 0.95},
)
QWEN3 = Family(
    chat="chatml",
    template=_QWEN3_TEMPLATE,
    license="Apache License, Version 2.0",
    parameters={
        "stop": list(_CHATML_STOPS),
        "temperature": 0.6,
        "top_k": 20,
        "top_p": 0.95,
        "repeat_penalty": 1,
    },
)
QWEN25 = Family(
    chat="chatml", template=_CHATML_TEMPLATE, license="Apache License, Version 2.0", thinking=False
)
