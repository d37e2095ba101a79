"""A process that records bench runs: `python writer.py LEDGER MODEL COUNT SAMPLES_KEPT TIMES`.

It prints the number of each run as soon as the ledger has acknowledged it. TIMES: of samples, so
that a transaction takes a while.
"""

import sys
from pathlib import Path

from orchestrator.ledger import Ledger, retention
from tests.bench.documents import document


def main(path: str, model: str, count: str, samples_kept: str, times: str) -> None:
    retention.RUNS_WITH_SAMPLES = int(samples_kept)
    bench = document(model=model)
    bench["samples"] *= int(times)
    ledger = Ledger(Path(path))
    for _ in range(int(count)):
        sys.stdout.write(f"{ledger.record_bench(bench)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
