"""From a file with an nn.Module to a ranked row beside dit, by JSON alone; it reads no table and no help.

    python examples/agent/model_to_row.py examples/agent/model.py --track digits --budget smoke --seeds 0-9

Standard output is one JSON object: the row, its rank, and the rows beside it. All else is on standard error. It ends
with ditbench's exit code where a command fails.
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGE = '''"""What ditbench is told of this architecture."""

import ditbench

ARCHITECTURE = ditbench.Architecture(
    name="{name}",
    build="ditbench_{name}.model:{cls}",  # called with the track's spec and the size's settings
    sizes={{"nano": {{}}, "nano/4": {{}}}},  # by the tracks' names of sizes: settings, which are the class's keywords
    specs={{"nano": ditbench.DenoiserSpec(channels=1, resolution=8, classes=10, space="pixel")}},
)


@ditbench.hookimpl
def ditbench_architectures():
    return [ARCHITECTURE]
'''


def ditbench(*words):
    """What a command answers to --json; a fault, or a failed check, ends the script."""
    done = subprocess.run([sys.executable, "-m", "ditbench", *words, "--json"], stdout=subprocess.PIPE, check=False)
    answer = json.loads(done.stdout)
    if "error" in answer:
        sys.exit(f"{answer['error']['kind']}: {answer['error']['message']}")
    if done.returncode:
        print(json.dumps(answer, indent=1), file=sys.stderr)
        sys.exit(done.returncode)
    return answer


def install(command):
    """Carry out the command that `ditbench new` names, with the pip of this Python where it is pip's."""
    words = shlex.split(command)
    words = [sys.executable, "-m", *words] if words[0] == "pip" else words
    subprocess.run(words, stdout=sys.stderr, check=True)


def bring(model, cls, name):
    """A plugin's package around the file, installed; the name that ditbench calls it by."""
    made = ditbench("new", name)
    component, folder = made["component"], Path(made["folder"])
    package = folder / f"ditbench_{component}"
    shutil.copy(model, package / "model.py")
    (package / "__init__.py").write_text(PACKAGE.format(name=component, cls=cls))
    shutil.rmtree(folder / "tests")  # of the example's options
    install(made["next"][0])
    return component


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--cls", default="Model", help="The class in the file.")
    parser.add_argument("--name", default="my-arch")
    parser.add_argument("--track", default="digits")
    parser.add_argument("--budget", default="smoke")
    parser.add_argument("--seeds", default="0-9")
    parser.add_argument("--out", default="runs")
    asked = parser.parse_args()

    name = bring(asked.model, asked.cls, asked.name)
    ditbench("check", name)
    runs = (name, "dit", "--track", asked.track, "--budget", asked.budget, "--seeds", asked.seeds, "--out", asked.out)
    planned = ditbench("plan", *runs)
    done = ditbench("run", *runs, "--quiet")

    (board,) = done["boards"]
    row = next(row for row in board["rows"] if row["architecture"].startswith(name))
    told = {"planned_runs": len(planned["runs"]), "records": [run["record"] for run in done["runs"]]}
    print(json.dumps({"rank": row["rank"], "row": row, "ranks_by": board["ranks_by"], "board": board, **told}))


if __name__ == "__main__":
    main()
