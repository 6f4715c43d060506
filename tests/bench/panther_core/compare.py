#!/usr/bin/env python3
"""Sets margay's detection beside panther-core, Panther's own engine: the same rules, the same events, the same machine.

    tests/bench/panther_core/compare.py --rules PANTHER_ANALYSIS --margay target/release/margay

Prints one JSON object with medians, ratios and every sample. Needs Python 3.9 or newer, and a package index for the
first run. panther-core is under the AGPL: it is installed into a virtual environment of its own and runs there in a
process of its own (`engine.py`); nothing of it is part of margay.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent

# The engine with what it needs and does not say, and what the rules of panther-analysis import besides their own helpers.
PACKAGES = [
    "panther-core",
    "boto3",
    "jmespath",
    "pyyaml",
    "panther-detection-helpers",
    "policyuniverse",
    "pycountry",
    "python-dateutil",
    "requests",
]


def environment(folder):
    """The interpreter of the virtual environment, which is made when it is not there."""
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True, stdout=sys.stderr)
        (folder / "ready").touch()
    return python


def asked(command):
    """What a command says, as JSON."""
    run = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} ended with {run.returncode}")
    return json.loads(run.stdout)


def median(samples, key):
    return statistics.median(sample[key] for sample in samples)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rules", required=True, type=Path, help="folder with rules, helpers and data models")
    parser.add_argument("--margay", required=True, type=Path, help="the margay binary")
    parser.add_argument("--log-type", default="AWS.CloudTrail", help="rules of this log type are run")
    parser.add_argument(
        "--events",
        type=int,
        default=20_000,
        help="CPU time is counted in ticks of 10 ms and batches have 1,000 events, so that few events show little",
    )
    parser.add_argument(
        "--interesting", type=float, default=0.02, help="part of the events that are test events of the rules"
    )
    parser.add_argument("--repeat", type=int, default=5, help="samples of each measurement; medians are shown")
    parser.add_argument("--venv", type=Path, default=Path(tempfile.gettempdir()) / "margay-panther-core")
    parser.add_argument("--keep", type=Path, help="leave rules and events in this folder")
    arguments = parser.parse_args()

    python = environment(arguments.venv)
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.keep or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        routine = work / "routine.jsonl"
        with routine.open("w") as file:
            events = [arguments.margay.resolve(), "bench", "events", "--events", str(arguments.events)]
            subprocess.run(events, check=True, stdout=file)
        engine = [python, HERE / "engine.py"]
        chosen = asked(
            [*engine, "prepare", arguments.rules, work, "--log-type", arguments.log_type]
            + ["--routine", routine, "--interesting", str(arguments.interesting)]
        )
        print(json.dumps(compare(engine, arguments, work, chosen), indent=2))


# Name of each measurement of margay: guards, workers.
MEASURED = {
    "guards_1_worker": (True, 1),
    "guards_2_workers": (True, 2),
    "no_guards_1_worker": (False, 1),
    "no_guards_2_workers": (False, 2),
}


def compare(engine, arguments, work, chosen):
    baseline, samples = [], {name: [] for name in MEASURED}
    # In turns, so that what else the machine does is shared.
    for _ in range(arguments.repeat):
        baseline.append(asked([*engine, "run", work]))
        for name, (guards, workers) in MEASURED.items():
            command = [arguments.margay.resolve(), "bench", "rules", work / "rules", "--format", "json"]
            command += ["--events", work / "events.jsonl", "--workers", str(workers)]
            samples[name].append(asked(command + ([] if guards else ["--no-guards"])))
    core = "events_per_cpu_second"
    of_baseline = median(baseline, core)
    first = samples["guards_1_worker"][0]
    pairs = first["rules"] * first["events"]
    return {
        "rules": {"panther_core": baseline[0]["rules"], "margay": first["rules"], **chosen},
        "events": first["events"],
        "python_calls_per_event": {
            name: median(of, "python_calls") / first["events"] for name, of in samples.items()
        },
        "matches": {"panther_core": baseline[0]["matches"], "margay": first["matches"]},
        "errors": {"panther_core": baseline[0]["errors"], "margay": first["errors"]},
        "pairs_not_matching": 1 - first["matches"] / pairs,
        "events_per_core_second": {
            "panther_core": of_baseline,
            **{name: median(of, core) for name, of in samples.items()},
        },
        "ratio_per_core": {name: median(of, core) / of_baseline for name, of in samples.items()},
        "two_workers_to_one": {
            "guards": wall(samples, "guards_2_workers") / wall(samples, "guards_1_worker"),
            "no_guards": wall(samples, "no_guards_2_workers") / wall(samples, "no_guards_1_worker"),
        },
        "crossing_us_per_event": {name: median(of, "crossing_us_per_event") for name, of in samples.items()},
        "load_seconds": {name: median(of, "load_seconds") for name, of in samples.items()},
        "samples": {"panther_core": baseline, **samples},
    }


def wall(samples, name):
    """Events a second, by the clock on the wall."""
    return median(samples[name], "events_per_second")


if __name__ == "__main__":
    main()
