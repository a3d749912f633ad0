"""`make bench`: prints the figures of this machine. `python -m tests.benchmarks NAME…` runs
some."""

import importlib
import sys

NAMES = (
    "mapping",
    "inbound",
    "log",
    "ingest",
    "delivery",
    "batching",
    "backlog",
    "latency",
    "kafka",
)


def main() -> None:
    for name in sys.argv[1:] or NAMES:
        print(f"\n== {name} ==", flush=True)
        importlib.import_module(f"tests.benchmarks.{name}").run()


main()
