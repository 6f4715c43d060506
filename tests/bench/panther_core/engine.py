"""The side of panther-core: runs in the virtual environment that `compare.py` makes, in a process of its own.

`prepare` chooses the rules that panther-core can load and writes them, with helpers and data models, into a folder that
both engines read; and it writes the events. `run` runs the rules over the events and prints what that took.
"""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

import yaml
from panther_core.data_model import DataModel
from panther_core.enriched_event import PantherEvent
from panther_core.rule import Rule


class Loader(yaml.SafeLoader):
    """Times stay text, as both engines have them."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def items(folder):
    """Every item of the YAML files below a folder, with its file."""
    for file in sorted(Path(folder).rglob("*.y*ml")):
        try:
            documents = list(yaml.load_all(file.read_text(), Loader=Loader))
        except (yaml.YAMLError, UnicodeDecodeError):
            continue
        for document in documents:
            for item in document if isinstance(document, list) else [document]:
                if isinstance(item, dict) and "AnalysisType" in item:
                    yield file, item


def is_rule(item, log_type):
    """Written in Python, of this log type."""
    return item["AnalysisType"] == "rule" and "Filename" in item and log_type in item.get("LogTypes", [])


def loaded(file, item):
    """The rule of panther-core, or why there is none."""
    rule = Rule({"id": item["RuleID"], "versionId": "1", "path": str(file.with_name(item["Filename"]))})
    return rule, rule.setup_exception


def helpers_of(folder):
    """Makes the helpers importable."""
    for file, item in items(folder):
        if item["AnalysisType"] == "global":
            sys.path.insert(0, str(file.parent))


def prepare(arguments):
    rules = arguments.work / "rules"
    shutil.rmtree(rules, ignore_errors=True)
    rules.mkdir()
    all_items = list(items(arguments.rules))
    helpers_of(arguments.rules)
    skipped, count = {}, 0
    for at, (file, item) in enumerate(all_items):
        kind = item["AnalysisType"]
        if kind == "global":
            copy(file, item, rules / "helpers")
        elif kind == "datamodel" and arguments.log_type in item.get("LogTypes", []) and item["Enabled"]:
            copy(file, item, rules / "data_models")
        elif is_rule(item, arguments.log_type):
            failure = loaded(file, item)[1]
            if failure is not None:
                skipped[item["RuleID"]] = repr(failure)
                continue
            count += 1
            # Without the tests: neither engine looks at them here.
            plain = {key: value for key, value in item.items() if key != "Tests"}
            copy(file, {**plain, "Enabled": True, "LogTypes": [arguments.log_type]}, rules / f"rule_{at}")
    written = write_events(arguments, all_items)
    print(json.dumps({"chosen": count, "not_loaded_by_panther_core": skipped, "interesting_events": written}))


def copy(file, item, folder):
    """One item with its Python, each in the folder of its kind, as both engines read them."""
    folder.mkdir(exist_ok=True)
    if "Filename" in item:
        shutil.copy(file.with_name(item["Filename"]), folder)
    name = item.get("RuleID") or item.get("GlobalID") or item.get("DataModelID")
    text = yaml.safe_dump(item, sort_keys=False, allow_unicode=True)
    (folder / f"{name.replace('/', '_')}.yml").write_text(text)


def test_events(all_items, log_type):
    """The test events of the rules."""
    for _, item in all_items:
        for test in (item.get("Tests") or []) if is_rule(item, log_type) else []:
            log = test.get("Log")
            log = json.loads(log) if isinstance(log, str) else log
            if isinstance(log, dict):
                yield {**log, "p_log_type": log_type}


def write_events(arguments, all_items):
    """The routine events, with every so many replaced by a test event of a rule."""
    interesting = list(test_events(all_items, arguments.log_type))
    every = round(1 / arguments.interesting) if arguments.interesting > 0 else 0
    written = 0
    with open(arguments.routine) as routine, open(arguments.work / "events.jsonl", "w") as out:
        for at, line in enumerate(routine):
            if every and interesting and at % every == every - 1:
                event = interesting[written % len(interesting)]
                written += 1
            else:
                event = {**json.loads(line), "p_log_type": arguments.log_type}
            out.write(json.dumps(event) + "\n")
    return written


def data_model(folder):
    """Of the log type; there is one at most."""
    for file, item in items(folder):
        if item["AnalysisType"] == "datamodel":
            mappings = [{key.lower(): value for key, value in one.items()} for one in item["Mappings"]]
            config = {"id": item["DataModelID"], "versionId": "1", "mappings": mappings}
            if "Filename" in item:
                config["body"] = file.with_name(item["Filename"]).read_text()
            return DataModel(config)
    return None


def run(arguments):
    folder = arguments.work / "rules"
    helpers_of(folder)
    rules = [loaded(file, item)[0] for file, item in items(folder) if item["AnalysisType"] == "rule"]
    model = data_model(folder)
    events = [json.loads(line) for line in open(arguments.work / "events.jsonl")]
    matches = errors = 0
    # What rules print is no result.
    result, sys.stdout = sys.stdout, open(os.devnull, "w")
    started, cpu = time.perf_counter(), time.process_time()
    for fields in events:
        event = PantherEvent(fields, model)
        for rule in rules:
            outcome = rule.run(event, {}, {}, batch_mode=True)
            matches += outcome.trigger_alert is True
            errors += outcome.detection_exception is not None
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    sys.stdout = result
    print(
        json.dumps(
            {
                "rules": len(rules),
                "events": len(events),
                "matches": matches,
                "errors": errors,
                "wall_seconds": wall,
                "cpu_seconds": cpu,
                "events_per_cpu_second": len(events) / cpu,
            }
        )
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("prepare")
    command.add_argument("rules", type=Path)
    command.add_argument("work", type=Path)
    command.add_argument("--log-type", required=True)
    command.add_argument("--routine", type=Path, required=True)
    command.add_argument("--interesting", type=float, required=True)
    command.set_defaults(do=prepare)
    command = commands.add_parser("run")
    command.add_argument("work", type=Path)
    command.set_defaults(do=run)
    arguments = parser.parse_args()
    arguments.do(arguments)


if __name__ == "__main__":
    main()
