"""Fuzzes a reader by coverage: `python tests/fuzz/run.py READER [--seconds N] [--corpus DIR]`; needs atheris.

New inputs that reach new code are kept in DIR for the next run. An input that crashes, runs for ten seconds or takes
two gigabytes ends the run with an exit code that is not 0; its bytes are then in crash-…, timeout-… or oom-….
"""

import argparse
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["eyespot", "tomllib", "tarfile", "csv"]):
    import readers

    from eyespot.weights.keras_h5_child import bound_memory

CORPUS = Path(__file__).parent / "corpus"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("reader", choices=readers.READERS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path)
    given = parser.parse_args()
    folders = [str(folder) for folder in (given.corpus, CORPUS / given.reader) if folder is not None]
    flags = [f"-max_total_time={given.seconds}", "-timeout=10", "-rss_limit_mb=2048", "-max_len=65536", "-verbosity=1"]
    if given.corpus is None:
        flags.append("-runs=-1")
    if given.reader == "h5":  # as the process of its own that reads such files
        bound_memory(1 << 30)
    atheris.Setup([sys.argv[0], *flags, *folders], lambda data: readers.one(given.reader, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
