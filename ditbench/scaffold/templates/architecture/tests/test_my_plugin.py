"""ditbench's contract, all of it, and whatever else you claim of the network."""

import pytest

from ditbench.testing import check_architecture
from ditbench_my_plugin import ARCHITECTURE


@pytest.mark.parametrize("skip", [True, False])
def test_it_keeps_the_contract(skip):
    check_architecture(ARCHITECTURE, options={"skip": skip}, module="ditbench_my_plugin")
