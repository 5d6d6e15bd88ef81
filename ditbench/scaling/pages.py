"""Studies as the site shows them."""

from __future__ import annotations

from ..leaderboard.site.contents import ShownStudy, ShownTable
from .plot import picture
from .study import Study
from .tables import OPTIMA, SIZES, optima, sizes


def shown(name: str, study: Study) -> ShownStudy:
    """A committed study, by the name of its file."""
    tables = (("What each budget says", OPTIMA, optima(study)), ("Every size that was tried", SIZES, sizes(study)))
    return ShownStudy(
        name=name,
        title=f"{study.setting.track} v{study.setting.version}, {study.setting.protocols[study.result.metric]}",
        sentence=study.sentence,
        picture=picture(study),
        tables=[
            ShownTable(caption, headers, [[row[header] for header in headers] for row in rows])
            for caption, headers, rows in tables
        ],
        command=study.command,
    )
