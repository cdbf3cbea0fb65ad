"""The table of what was tried is that of the stored results, and holds no fault."""

import json

from faults import __main__ as soak

from vqlearn.lessons.marks import between


def test_the_page_shows_the_stored_results_and_no_fault():
    results = json.loads(soak.RESULTS.read_text())
    assert between(soak.PAGE, "faults") == soak.table(results)
    assert set(results) <= set(soak.PARTS)
    for name, found in results.items():
        assert found["tried"] >= soak.PARTS[name].count, name
        assert not any(found.get(fault, 0) for fault in soak.FAULTS), name
