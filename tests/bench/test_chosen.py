"""Which cases are measured, and what is kept of them."""

import pytest
from bench import cases, floor, generation
from bench.case import CUDA, FULL_DEPTH, LINUX, Case, Setting, images_per_second, paired, result_of
from bench.machine import this_machine

TWO = Setting(pairs=2)


def test_cases_need_what_they_need():
    cpu, cuda = Setting(), Setting(device="cuda")
    assert not any(name.startswith("floor") for name in cases.chosen([], cpu))
    assert list(cases.chosen(["floor"], cuda)) == list(floor.CASES)
    assert not any("full" in name for name in cases.chosen([], cpu))
    assert len(cases.chosen(["generation/full-depth"], Setting(full_depth=True))) == 2
    needs = {case.needs for case in cases.CASES.values()}
    assert needs == {None, CUDA, LINUX, FULL_DEPTH}


def test_some_cases_are_chosen_by_the_beginnings_of_their_names():
    found = cases.chosen(["posterior", "generation/small", "truncation"], Setting())
    small = [name for name in generation.CASES if name.startswith("generation/small-")]
    assert list(found) == [*small, "truncation", "posterior"]


@pytest.mark.parametrize("wanted", ["gener", "floor", "posterior-"])
def test_a_name_that_fits_no_case_is_refused(wanted):
    with pytest.raises(ValueError, match=f"--only is '{wanted}'; allowed: .*truncation"):
        cases.chosen(["truncation", wanted], Setting())


def test_no_case_hides_another():
    assert len(cases.CASES) == sum(len(room.CASES) for room in cases.ROOMS)
    assert len({case.what + case.beside for case in cases.CASES.values()}) == len(cases.CASES)


def test_a_result_knows_its_kind_and_machine():
    machine = this_machine("cpu")
    pair = Case("", "", paired(lambda device: (lambda: None, lambda: None)))
    found = result_of(pair, TWO, machine)
    assert (found.machine, found.alone) == (machine, None)
    assert len(found.comparison.ratios) == 2
    lonely = Case("", "", images_per_second(lambda device, images: lambda: None, 1))
    assert result_of(lonely, TWO, machine).comparison is None
