"""Pure. The part of a server's log that tells of one load.

A server names the command of each runner that it starts. Behind that line comes what the runner
says of its buffers, up to the next start.
"""

import re

# "llama server" up to 0.11, "runner" up to 0.24, "llama-server" since. A runner without a model
# only lists the GPUs.
_START = re.compile(
    r'^.*msg="starting (?:llama server|runner|llama-server)".*\s(?:--model|-m)[ =].*$',
    re.MULTILINE,
)


def last_load(text: str, model_file: str | None = None) -> str:
    """Return the log from the last start of a runner on; all of it, if no start is in it.

    `model_file` is the last part of the path of the weights: loads of other models are left out,
    and the load ends where one of theirs begins. "": that model was not loaded.
    """
    starts = list(_START.finditer(text))
    if not starts:
        return text
    ends = [start.start() for start in starts[1:]] + [len(text)]
    for start, end in reversed(list(zip(starts, ends, strict=True))):
        if model_file is None or model_file in start[0]:
            return text[start.start() : end]
    return ""
