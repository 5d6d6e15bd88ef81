"""What README and documents show: their blocks, and what is changed in a command so that the tests can run it.

In ```sh stand commands that are run, one a line; ```python is executed, ```toml and ```json are read, ```bash is
looked at by ``bash -n``, ```text and blocks of no language are pictures of text. Any other language is a fault.
"""

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from ditbench.denoiser.conformance import suite

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "ditbench" / "leaderboard" / "rules.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "AGENTS.md",
]


@dataclass(frozen=True)
class Change:
    """What is replaced in the commands that `of` fits, and why; `by` may name groups of `what`."""

    of: str
    what: str
    by: str
    why: str

    def __call__(self, line: str) -> str:
        return re.sub(self.what, self.by, line) if re.match(self.of, line) else line


def more(of: str, options: str, why: str) -> Change:
    """Options at the command's end: the command line takes the last of two."""
    return Change(of, r"$", f" {options}", why)


_RUN, _OF_IMAGES = r"ditbench run\b", r"ditbench evaluate (?!.*--(?:architecture|guidance))"

# Everything that is run otherwise than it is printed. An entry that fits no line of any document is a fault.
CHANGES = (
    Change("PATH=", r"^PATH=.*; uv run ", "", "uv is not asked for: the tests have the environment that it makes"),
    Change("uv run ditbench", "^uv run ", "", "the tests have the environment that uv makes"),
    Change(_RUN, r"--device cuda\b", "--device cpu", "a test can't count on a GPU"),
    Change(_RUN, r"--seeds [\d,-]+", "--seeds 0", "a seed more is the same once more"),
    Change(
        "ditbench (run|profile|import|evaluate)", r"\b(\w+):(?:XL|L|B|S)/\d", r"\1:nano", "too large for a CPU's test"
    ),
    Change(
        "ditbench (run|evaluate)",
        r"--track (fashion32|cifar10|imagenet\d+)",
        r"--track small-\1.toml",
        "its data is not installed, its batches and sampler are a GPU's: a copy of the track on made-up data, small",
    ),
    more(_RUN, "--budget 4-steps --samples 20", "minutes to days of training"),
    more(f"{_RUN}(?!.*--ruleset (?:tuned|speedrun))", "--metrics kid,is", "denoising held-out images takes a CPU 10 s"),
    more("ditbench run .*--data hf:", "--offline", "no test touches the network: EXPECTED says what it ends with"),
    more(
        "ditbench import dit:nano",
        "--resolution 8 --channels 4 --classes 3 --space latent --learn-variance",
        "the checkpoint is dit:nano's on the small latents; its own input are digits",
    ),
    more("ditbench evaluate .*--track small-", "--features efficientnet-lite0 --metrics kid,is", "as below"),
    more("ditbench evaluate .*--architecture", "--count 20", "the track's thousand images take a CPU half a minute"),
    more(
        f"{_OF_IMAGES}(?!.*--features)",
        "--features efficientnet-lite0",
        "Inception's weights have to be fetched; what is missing is told, which test_app has",
    ),
    more(_OF_IMAGES, "--metrics kid,is", "a FID's matrix root takes a second; test_evaluation has it"),
    Change("ditbench bridge", "VIRTUAL_imagenet256_labeled", "REAL", "its images are as large as the small tracks'"),
    more("ditbench bridge", "--features efficientnet-lite0 --metrics is", "as above"),
    more("ditbench profile", "--steps 4 --warmup 0", "25 steps take a CPU long"),
    more("ditbench fetch", "--offline", "no test touches the network: EXPECTED says what it ends with"),
    more("ditbench leaderboard serve", "--no-browser", "nobody would close it; it is stopped when it serves"),
    Change("ditbench records verify .*--run", r"runs/digits/RUN-ID", "again/digits/RUN-ID", "two runs, so two folders"),
    Change(
        "ditbench (ema|evaluate|export)", r"runs/digits/RUN-ID", "first/digits/RUN-ID", "the run of that id lies there"
    ),
    more("ditbench ema ", "--samples", "the run there has no denoising error, which is what is measured otherwise"),
    more("ditbench run .*--ema-snapshots", "--force", "the folder has a run of these steps, without snapshots"),
    Change("ditbench data prepare", "--out LATENTS", "--out LATENTS-again", "LATENTS are there, nothing would be done"),
    Change(
        "ditbench data prepare VIDEOS .*--autoencoder",
        r"--resolution \d+",
        "--resolution 16",
        "32 frames of 256 px take long",
    ),
    Change(_RUN, r"--micro-batch \d+", "--micro-batch 2", "the small tracks' batches are of 4"),
    Change("ditbench", r"RUN-ID", "{run_id}", "the tests' run has an id of its own"),
)

# In the quick tests only: what costs seconds, and is not left out with -m slow.
QUICK = (
    Change(_RUN, r"--plugins ([^ ,]+),\S+", r"--plugins \1", "one architecture is enough to know the command"),
    Change(_RUN, r"(ditbench run [a-z]\S*)(?: [a-z]\S*)+", r"\1", "one architecture is enough to know the command"),
    more(rf"{_RUN}(?! [a-z])(?!.*--plugins)", "--plugins dit", "not all four"),
    Change("ditbench sizes", r"sizes(?: [a-z]\S*)+", "sizes dit:nano", "XL takes seconds to count; test_sizes has it"),
    Change("ditbench plan", r"\b(\w+):(?:XL|L)/2(?:,\S+)?", r"\1:S/2", "XL takes seconds to count, too"),
    Change("ditbench profile", r"^(ditbench profile \S+)(?: [\w:/]+)+(?= --)", r"\1", "one architecture is enough"),
)

# Commands that the quick tests leave out: regular expression -> why. The slow tests run them.
SLOW = {
    "^ditbench check (?!my_arch --report)": "takes 10 s; one architecture is checked",
    "^ditbench evaluate .*--guidance": "test_guided_runs has it",
    "^ditbench (run .*--ema-snapshots|ema )": "test_ema_lengths has it",
    "^pytest ": "test_scaffold runs the tests of new packages",
    "^ditbench profile dit uvit": "another profile is quick",
    "^ditbench profile .*--real-loss": "a step on latents takes a CPU a second; test_profiler times a track's own loss",
    "--track cifar10 --ruleset native": "`--track digits --ruleset native` is quick",
    "--track imagenet64 --data IMAGENET": "test_runs_on_data has a folder of images",
    "--micro-batch 32 --(checkpointing|reference)": "a micro-batch is quick without, in data.md",
    "dit:S/2 --seeds 0,1,2 --micro-batch 32": "the first run on latents in data.md is quick",
    "--data LATENTS --plugins dit:XL/2,uvit:L/2": "the first run on latents in data.md is quick",
    "--track imagenet256 --data synthetic": "test_runs_on_data has it",
}

# Commands that end otherwise than with 0 here: regular expression -> exit code, and words of what is told.
EXPECTED = {
    r"ditbench fetch (inception|dinov2)": (2, "are missing"),
    r"ditbench run .*--data hf:NAME .*--offline": (2, "'hf:NAME' can't be loaded"),
}

UV = 'PATH="$PATH:$PWD/.uv/bin"; command -v uv >/dev/null || python3 -m pip install -q --target .uv uv'
CI = "CI runs it: .ci/run has this line"
# Lines that are not run at all -> why not.
NOT_RUN = {
    f"{UV}; uv run pytest": CI,
    "uv sync": "installs an environment from the network; `uv run` in .ci/run does the same",
    "uv run pytest": "these are the tests",
    "uv run ruff check": CI,
    "uv run ruff format --check": CI,
    "uv run mypy": CI,
}


@dataclass(frozen=True)
class Block:
    """One fenced block of a document."""

    language: str
    text: str
    line: int  # of its first line, in the document

    @property
    def commands(self) -> list[tuple[int, str]]:
        """Number and text of each line that is no comment; a backslash joins it with the next."""
        found: list[tuple[int, str]] = []
        joined = ""
        for number, line in enumerate(self.text.splitlines(), start=self.line):
            joined += line.strip().removesuffix("\\")
            if line.rstrip().endswith("\\"):
                continue
            if joined and not joined.startswith("#"):
                found.append((number, re.sub(r"\s+#\s.*$", "", joined)))
            joined = ""
        return found


def blocks(document: Path) -> list[Block]:
    """All fenced blocks, in order; also those that stand in a list."""
    text = document.read_text(encoding="utf-8")
    fences = re.finditer(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE)
    return [
        Block(
            found[2], re.sub(f"^{found[1]}", "", found[3], flags=re.MULTILINE), text[: found.start(3)].count("\n") + 1
        )
        for found in fences
    ]


def lines(document: Path) -> list[str]:
    """The lines of all ```sh blocks."""
    return [line for block in blocks(document) if block.language == "sh" for _, line in block.commands]


def spans(document: Path) -> list[str]:
    """What stands between backticks in the prose."""
    prose = re.sub(r"^( *)```.*?^\1```$", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose)]


def steps(line: str, quick: bool) -> list[str]:
    """The command as printed, and after each change."""
    found = [line]
    for change in (*CHANGES, *(QUICK if quick else ())):
        found.append(change(found[-1]))
    return found


def changed(line: str, quick: bool) -> str:
    """The command as it is run."""
    return steps(line, quick)[-1]


def left_out(line: str, quick: bool) -> bool:
    """Whether it is not run: ever, or by the quick tests."""
    return line in NOT_RUN or (quick and any(re.search(pattern, line) for pattern in SLOW))


def check_in(path: str, *asked: str) -> None:
    """In a process forked from the server, whose environment is older: `ditbench check` with this PYTHONPATH."""
    os.environ["PYTHONPATH"] = path
    *names, target = asked
    suite.main(*names, Path(target))


def split(line: str) -> tuple[dict[str, str], list[str], str]:
    """The variables before a command, its words, and the file that its output goes to ("" if it is shown)."""
    words = shlex.split(line)
    variables = {}
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    if len(words) > 2 and words[-2] == ">":
        return variables, words[:-2], words[-1]
    return variables, words, ""
