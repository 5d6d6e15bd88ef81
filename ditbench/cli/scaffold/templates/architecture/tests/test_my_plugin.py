"""ditbench's contract, all of it, and whatever else you claim of the network."""

import pytest

from ditbench.testing import check_architecture
from ditbench_my_plugin import ARCHITECTURE

SIZE = "nano"  # larger ones take as much longer


@pytest.mark.parametrize("options", [{"skip": True}, {"skip": False}])
def test_it_keeps_the_contract(options):
    check_architecture(ARCHITECTURE, ARCHITECTURE.specs[SIZE], SIZE, options, module="ditbench_my_plugin")
