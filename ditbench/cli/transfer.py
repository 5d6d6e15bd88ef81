"""`ditbench leaderboard transfer`: whether rankings carry over to other tracks, budgets and metrics."""

from __future__ import annotations

from .leaderboard import RecordsArgument, found_records, leaderboard_app
from .options import COMMITTED, AsJson
from .output import tell, tell_json


@leaderboard_app.command(
    gives="ditbench.cli.answers.records:TransferAnswer",
    epilog="Example: ditbench leaderboard transfer leaderboard/records",
)
def transfer(records: RecordsArgument = COMMITTED, as_json: AsJson = False) -> None:
    """Tell whether rankings carry over: rank correlations between metrics, boards and moments, over seeds."""
    from ..leaderboard.boards import boards
    from ..leaderboard.transfer import HEADINGS, NOTE, questions

    asked = questions(boards(found_records(records)[0]))
    if as_json:
        tell_json({question: [one.facts for one in found] for question, found in asked.items()})
        return
    from .console import make_console, make_table, plain

    console = make_console()
    for question, found in asked.items():
        table = make_table(*HEADINGS, title=question)
        for one in found:
            table.add_row(*map(plain, one.words))
        console.print(table) if found else tell(
            f"{question} No answer: it takes three architectures that share boards."
        )
    tell(NOTE)
