"""Let a model say 48 tokens in a current llama.cpp (xllamacpp), and end: `speak.py MODEL`."""

import json
import os
import sys

import xllamacpp


def main(model: str) -> None:
    """Print the answer of its completion endpoint."""
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = 512
    params.n_parallel = 1
    params.warmup = False
    params.port = 0
    server = xllamacpp.Server(params)
    asked = {"prompt": " the house of animal", "max_tokens": 48, "temperature": 0}
    sys.stdout.write(json.dumps(server.handle_completions(asked)))
    sys.stdout.flush()
    os._exit(0)  # its threads have nothing to say any more


if __name__ == "__main__":
    main(*sys.argv[1:])
