"""Every promise of `contract.py`, held by every model of `cases.py`."""

import pytest
from contracts.cases import CASES
from contracts.contract import PROMISES


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("name", CASES)
def test_every_model_keeps_every_promise(name, promise):
    case = CASES[name]
    promise(case, case.fresh())
