"""Do measured latencies repeat? `python benchmarks/repeat.py BUNDLE… [--times 3]` measures again and again.

Each run is a process of its own. Prints the medians, how far apart they are, what others took of the machine meanwhile,
and the doubts that each run had: where medians are more than 5 % apart, a doubt should have said so.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="+")
    parser.add_argument("--times", type=int, default=3, help="runs of each bundle")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each run")
    parser.add_argument("--threads", type=int, help="inside one call; one does not wait for another on a far core")
    parser.add_argument("--json", type=Path, help="write every record to this file")
    asked = parser.parse_args()
    found = {n: [measure(n, asked.seconds, asked.threads) for _ in range(asked.times)] for n in asked.bundles}
    print("| bundle | | medians, ms | apart | others took | doubts |\n|---|---|---|--:|---|---|")
    for name, runs in found.items():
        for key, title in (("network_ms", "network alone"), ("latency_ms", "JPEG to label")):
            medians = [run[key]["median"] for run in runs]
            apart = max(medians) / min(medians) - 1
            others = [run["conditions"]["others"] for run in runs]
            shares = ", ".join("?" if share is None else f"{share:.0%}" for share in others)
            doubts = sorted({caution["kind"] for run in runs for caution in run["cautions"]})
            print(f"| {name} | {title} | {', '.join(f'{m:.3g}' for m in medians)} | {apart:.1%} | {shares} | "
                  f"{', '.join(doubts) or 'none'} |")  # fmt: skip
    if asked.json:
        asked.json.write_text(json.dumps(found))


def measure(name: str, seconds: float, threads: int | None) -> dict[str, object]:
    """One record; SystemExit when the measurement fails."""
    command = [sys.executable, "-m", "eyespot", "measure", name, "--quick", "--seconds", str(seconds), "--json"]
    command += ["--threads", str(threads)] if threads else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
