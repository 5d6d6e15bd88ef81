"""What the sizes that ship with ditbench are built with, and cost on its tracks: a table, by which records are checked.

`ditbench.profiling.shipped` makes it. It holds for the sources of plugins that it names: other code costs what it does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path

from ...components import Architecture, Value
from ...denoiser_spec import DenoiserSpec
from ...ladder import names_of
from ...storage.files import write_text
from ...storage.schema import Count, Frozen, Name, Sha256, later, read_checked
from ..facts import Cost

FILE = Path(__file__).with_name("sizes.json")


class Row(Frozen):
    """A size with its own options, on an input."""

    architecture: Name
    size: str
    channels: Count
    resolution: Count
    classes: Count
    space: str
    learn_variance: bool
    frames: Count = later(1)
    cost: Cost

    @classmethod
    def of(cls, architecture: str, size: str, spec: DenoiserSpec, cost: Cost) -> Row:
        """What was counted, as a row."""
        names = ("channels", "resolution", "classes", "space", "learn_variance", "frames")
        return cls(architecture=architecture, size=size, cost=cost, **{name: getattr(spec, name) for name in names})


class Settings(Frozen):
    """What an architecture is built with."""

    options: dict[str, Value | None]  # each by its default
    sizes: dict[str, dict[str, Value | None]]
    added: tuple[str, ...] = later(())  # options that are no settings at their defaults
    ladder: dict[str, dict[str, Value | None]] = later({})  # the sizes of its ladders

    @classmethod
    def from_plugin(cls, architecture: Architecture) -> Settings:
        """What a plugin registers."""
        added = tuple(name for name, option in architecture.options.items() if option.later)
        options = {name: option.default for name, option in architecture.options.items() if not option.later}
        return cls(
            options=options,
            sizes={name: {**size} for name, size in architecture.sizes.items()},
            added=added,
            ladder={name: {**architecture.family(name)[name]} for name in names_of(architecture.ladder)},
        )

    def of(self, size: str, options: Mapping[str, Value]) -> dict[str, Value | None]:
        """All of it for a size and the options that somebody chose; empty if there is no such size or option."""
        settings = self.sizes.get(size, self.ladder.get(size))
        if settings is None or not options.keys() <= {*self.options, *self.added}:
            return {}
        return {**self.options, **settings, **options}


class Shipped(Frozen):
    """The table, and the sources of plugins for which it holds."""

    sources: dict[Name, tuple[Sha256, ...]] = {}  # by architecture
    settings: dict[Name, Settings] = {}  # likewise
    rows: tuple[Row, ...] = ()

    def after(self, before: Shipped) -> Shipped:
        """The same, and for an architecture whose rows are as before also for the sources of before.

        Architectures that it has not are as before.
        """
        names = dict.fromkeys((*before.sources, *self.sources))
        tables = {name: self if name in self.sources else before for name in names}
        sources = {name: table.sources[name] for name, table in tables.items()}
        for name in self.sources.keys() & before.sources.keys():
            if self._has(name, before):
                sources[name] = tuple(dict.fromkeys((*sources[name], *before.sources[name])))
        return Shipped(
            sources=sources,
            settings={name: table.settings[name] for name, table in tables.items()},
            rows=tuple(row for name, table in tables.items() for row in table.rows if row.architecture == name),
        )

    def _has(self, architecture: str, before: Shipped) -> bool:
        """Whether all that was there before is the same here. Sizes of ladders may be new: older sources ran none."""
        now, then = self.settings[architecture], before.settings[architecture]
        new = now.ladder.keys() - then.ladder.keys()
        kept = {name: size for name, size in now.ladder.items() if name not in new}
        same = now.model_copy(update={"ladder": kept, "added": ()}) == then.model_copy(update={"added": ()})
        return same and self._of(architecture, new) == before._of(architecture)

    def _of(self, architecture: str, but: Collection[str] = ()) -> list[dict[str, object]]:
        """Its rows without some sizes, and without training's MACs, of which a record is held to the order alone."""
        trained = {"cost": {"training_macs_per_image"}}
        rows = [row for row in self.rows if row.architecture == architecture and row.size not in but]
        return [row.model_dump(exclude=trained) for row in rows]


@lru_cache(maxsize=1)
def read_shipped() -> Shipped:
    """The table as it is committed."""
    return read_checked(Shipped, FILE)


def write_shipped(table: Shipped, path: Path = FILE) -> None:
    """Write the table, a line for each row."""
    head = Shipped(sources=table.sources).model_dump_json(include={"sources"}, indent=1).removesuffix("\n}")
    settings = ",\n".join(f'"{name}":{one.model_dump_json()}' for name, one in table.settings.items())
    rows = ",\n".join(row.model_dump_json() for row in table.rows)
    write_text(path, f'{head},\n "settings": {{\n{settings}\n }},\n "rows": [\n{rows}\n ]\n}}\n')
