"""The gallery of wrong samplers: what ``docs/gallery.md`` says of the measures that decide is what the code gives."""

from __future__ import annotations

import pytest

import wrong_samplers as gallery

TEXT = gallery.DOCUMENT.read_text()


def signs(fault, measure):
    (line,) = [line for line in TEXT.splitlines() if line.startswith(f"| {fault} |") and line.count("|") > 8]
    return line.split("|")[2 + gallery.MEASURES.index(measure)].replace("*", "").split()


@pytest.mark.parametrize("measure", ["kl", "energy-distance"])
@pytest.mark.parametrize("fault", list(gallery.FAULTS))
def test_what_decides_rewards_no_fault(measure, fault):
    assert "−" not in signs(fault, measure)
    value, error = gallery.excess(measure, fault, 2, 6)
    assert value > -gallery.TOLD * error - 0.02


def test_narrow_draws_are_rewarded_by_kernel_densities_and_seen_by_kl():
    """Faults that once stood in bold above exact draws: contracted at D = 12, modes that are too narrow."""
    for fault in ("contracted by a tenth", "modes at .8 of their width"):
        assert signs(fault, "kl") == ["+" if sign == "+" else "·" for sign in signs(fault, "kl")]
        assert signs(fault, "kl")[-2:] == ["+", "+"]
        assert gallery.sign(*gallery.excess("kl", fault, 12, 6)) == "+"
    assert signs("contracted by a tenth", "symkl")[-1] == "−"
    assert gallery.excess("symkl", "contracted by a tenth", 12, 6)[0] < 0


def test_a_missing_mode_is_seen_by_what_decides():
    for measure in ("kl", "energy-distance", "mode-weights"):
        assert signs("a mode missing", measure) == 4 * ["+"]
        assert gallery.sign(*gallery.excess(measure, "a mode missing", 6, 6)) == "+"


@pytest.mark.parametrize("dim", [2, 12])
def test_kl_is_right_for_affine_errors(dim):
    (line,) = [
        line for line in TEXT.splitlines() if line.startswith("| contracted by a tenth |") and line.count("|") < 8
    ]
    stored, true = line.split("|")[2 + gallery.DIMS.index(dim)].split()
    assert gallery.true_kl("contracted by a tenth", dim) == pytest.approx(float(true.strip("()")), abs=0.003)
    value, error = gallery.excess("kl", "contracted by a tenth", dim, 8)
    assert abs(value - float(stored)) < 8 * error + 0.005
    assert float(stored) == pytest.approx(float(true.strip("()")), rel=0.35)
