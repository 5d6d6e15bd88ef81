"""One run, fully named: what it is made of, and the hash that says which it is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..components import Value, label
from ..errors import BadValue
from ..storage.schema import Fraction, Frozen, Name, digest, later
from .architecture import MOST_LIBRARIES, ArchitectureFacts, Library
from .budget import FlopsRule, is_of_flops
from .recipe import ObjectiveChoice, Recipe, without_memory
from .search import Study
from .speedrun import Changed
from .track import Track

# Everybody's recipe; that of the architecture's own paper; the best of a search; one trial of such a search; anybody's
# recipe for one network, the fastest to the targets.
Ruleset = Literal["matched", "native", "tuned", "trial", "speedrun"]
ASKED_FOR = ("matched", "native", "tuned", "speedrun")  # a trial is what `tuned` makes

EMA_LENGTHS = (0.05, 0.10)  # relative ones of the power-function averages that snapshots are of, as in the paper
NOT_HASHED = (  # fields of a run that can't change its result, or that its hash has in another way, as the track
    "track", "paper", "device", "data", "reference", "deviations", "skip_bad", "offline", "eval_at", "keep_samples",
    "raw_weights", "checkpoint_seconds", "study", "changed", "ema_snapshots",
)  # fmt: skip


class RunConfig(Frozen):
    """One run, fully named. Two equal configs are the same run, on the same class of hardware."""

    track: Track
    architecture: str
    size: str
    options: dict[str, Value] = {}  # only what differs from the architecture's defaults
    settings: dict[str, Value | None]  # everything the network is built with
    paper: str = ""
    distribution: str
    distribution_version: str
    source_sha256: str  # of the plugin's Python files: an edited block is another run
    libraries: tuple[Library, ...] = later((), max_length=MOST_LIBRARIES)  # beside it, known once it was imported
    trained_with: tuple[Name, ...] = later((), max_length=20)  # networks whose features its loss uses
    ruleset: Ruleset = "matched"
    recipe: Recipe  # the track's, or with what the architecture's paper changes
    objective: ObjectiveChoice
    study: Study | None = later(None)  # the search that chose the recipe, under the tuned ruleset
    changed: Changed = later("")  # what is new in the recipe, in words, under the speedrun ruleset
    budget: str
    flops_rule: FlopsRule = later(1)  # how its FLOPs are counted; in the hash of a budget of FLOPs alone
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    device: str  # "cpu", "cuda", "cuda:1"
    hardware: str = ""  # the class of it, known once the machine has been looked at
    data: str = ""  # where this machine has the data
    reference: str = ""  # real images or their moments, instead of the data's own
    data_sha256: str = ""  # of what is found there, known once it has been opened
    reference_sha256: str = ""
    deviations: tuple[str, ...] = ()  # why the run can't be ranked on its track
    skip_bad: bool = False  # leave unreadable images out, and count them
    offline: bool = False
    eval_at: tuple[Fraction, ...] = ()  # shares of the budget at which to measure, too
    keep_samples: bool = False
    raw_weights: bool = False  # also measure the weights as training left them
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 20.0  # training time between checkpoints
    ema_snapshots: int = later(0, ge=0)  # of power-function averages, over the budget

    @property
    def label(self) -> str:
        """The architecture as the command line spells it, e.g. ``dit:S/2+conditioning=adaln``."""
        return label(self.architecture, self.size, self.options)

    @property
    def told(self) -> str:
        """Which of several runs it is, in few words."""
        return f"{self.label} trial" if self.ruleset == "trial" else f"{self.label} seed {self.seed}"

    @property
    def averages(self) -> int:
        """How many averages of the weights it keeps in training beside their EMA."""
        return len(EMA_LENGTHS) if self.ema_snapshots else 0

    @property
    def built(self) -> ArchitectureFacts:
        """What is built, and whose code builds it."""
        same = ArchitectureFacts.model_fields.keys() - {"name"}
        return ArchitectureFacts(name=self.architecture, **{name: getattr(self, name) for name in same})

    @property
    def build_settings(self) -> dict[str, Value | None]:
        """What the network of this run is built with: its settings, and what fits it into memory."""
        return {**self.settings, "checkpointing": True} if self.recipe.checkpointing else dict(self.settings)

    @property
    def hash(self) -> str:
        """Identity of the run: whatever may change its result. Prose and what is merely kept stay out."""
        kind = self.device.partition(":")[0]
        counted = () if is_of_flops(self.budget) else ("flops_rule",)
        content = without_memory(self.model_dump(mode="json", exclude={*NOT_HASHED, *counted}))
        searched = [] if self.study is None else [self.study.digest]
        return digest([content, self.track.hash, kind, *searched], 12)

    @property
    def run_id(self) -> str:
        """Name of the run's folder: readable, unique, and free of separators."""
        size = self.size.replace("/", "-")
        return f"{self.architecture}-{size}-seed{self.seed}-{self.hash[:8]}"


def check_seeds(seeds: object) -> tuple[int, ...]:
    """Distinct whole numbers in [0, 2**32), or a `BadValue`."""
    if not isinstance(seeds, (list, tuple)) or not seeds:
        raise BadValue(f"Seeds {seeds!r} are no list of whole numbers such as 0,1,2.")
    for seed in seeds:
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
            raise BadValue(f"Seed {seed!r} is no whole number from 0 to {2**32 - 1}.")
    if len(set(seeds)) < len(seeds):
        raise BadValue(f"Seeds {', '.join(map(str, seeds))}: one stands twice.")
    return tuple(seeds)
