"""Which settings a processor runs, what a run says, and that it fails when a test does or a setting is not obeyed."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import processors
from processors import SETTINGS, SHORT, VARIABLES, Instructions, disobeyed, lacking

BY_NAME = {setting.name: setting for setting in SETTINGS}
OBEYED = {
    name: Instructions(setting.environment.get("ATEN_CPU_CAPABILITY", "AVX2").upper(), (setting.kernels or "Zen",))
    for name, setting in BY_NAME.items()
}


def test_settings_differ_and_name_known_variables_alone():
    assert len({tuple(sorted(setting.environment.items())) for setting in SETTINGS}) == len(SETTINGS) > 4
    assert all(set(setting.environment) in ({*VARIABLES}, set()) for setting in SETTINGS)
    assert sum(setting.short for setting in SETTINGS) == 3


def test_what_the_processor_lacks_is_left_out():
    runs = {
        best: [setting.name for setting in SETTINGS if lacking(setting, best, "x86_64") is None]
        for best in ("DEFAULT", "AVX2", "AVX512")
    }
    assert runs["DEFAULT"] == ["as it is", "SSE 4"]
    assert runs["AVX2"] == ["as it is", "SSE 4", "AVX", "AVX2"]
    assert runs["AVX512"] == list(BY_NAME)
    assert lacking(BY_NAME["AVX-512"], "AVX2", "AMD64") == "this processor has AVX2 at most"
    assert lacking(BY_NAME["SSE 4"], "SVE256", "arm64") == "arm64 is not x86"
    assert lacking(BY_NAME["as it is"], "SVE256", "arm64") is None


def test_a_setting_takes_the_others_variables_away(monkeypatch):
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    monkeypatch.setenv("KEPT", "kept")
    environment = BY_NAME["as it is"].applied()
    assert environment["KEPT"] == "kept"
    assert "MKL_CBWR" not in environment
    assert BY_NAME["AVX2"].applied()["MKL_CBWR"] == "AVX2"
    assert os.environ["MKL_CBWR"] == "COMPATIBLE"


def test_a_setting_that_is_not_obeyed_is_told():
    for name, setting in BY_NAME.items():
        assert disobeyed(setting, OBEYED[name]) is None
        assert disobeyed(setting, replace(OBEYED[name], kernels=())) is None
    avx2 = BY_NAME["AVX2"]
    assert disobeyed(avx2, Instructions("AVX512", ("Haswell",))) == "torch has AVX512 instructions, not AVX2"
    assert disobeyed(avx2, Instructions("AVX2", ("Haswell", "Zen"))) == (
        "OpenBLAS has kernels for Haswell, Zen, not Haswell"
    )


def test_the_tests_of_the_short_form_exist():
    for test in SHORT:
        file, _, function = test.partition("::")
        assert f"def {function}" in (Path(processors.ROOT) / file).read_text()
    assert all((processors.ROOT / folder).is_dir() for folder in processors.LONG)


@pytest.mark.parametrize(
    ("codes", "ended"), [({}, 0), ({"AVX": 1}, 1), ({"AVX": 5}, 1)], ids=["passed", "failed", "nothing ran"]
)
def test_it_says_what_ran_and_fails_with_any(monkeypatch, capsys, codes, ended):
    ran = []

    def run(setting, tests, jobs):
        ran.append((setting.name, tests, jobs))
        return codes.get(setting.name, 0)

    monkeypatch.setattr(processors, "found", lambda setting: replace(OBEYED[setting.name]))
    monkeypatch.setattr(processors, "lacking", lambda setting, best: "too old" if setting.name == "AVX-512" else None)
    monkeypatch.setattr(processors, "run", run)
    monkeypatch.setattr(sys, "argv", ["processors.py", "-n", "3", "--", "-k", "svgd"])
    assert processors.main() == ended
    assert ran == [(name, [*processors.LONG, "-k", "svgd"], 3) for name in BY_NAME if name != "AVX-512"]
    said = capsys.readouterr().out
    assert "== AVX2: ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=AVX2" in said
    assert "found: AVX2 in torch, Haswell in OpenBLAS" in said
    assert "AVX-512: left out, too old" in said
    assert (f"AVX: FAILED (pytest ended with {codes.get('AVX')})" in said) == bool(codes)


def test_a_setting_without_effect_fails_and_runs_nothing(monkeypatch, capsys):
    monkeypatch.setattr(processors, "found", lambda setting: Instructions("AVX512", ("Zen",)))
    monkeypatch.setattr(processors, "lacking", lambda setting, best: None)
    monkeypatch.setattr(processors, "run", lambda *_: pytest.fail("ran"))
    monkeypatch.setattr(sys, "argv", ["processors.py", "--short"])
    assert processors.main() == 1
    assert "SSE 4: torch has AVX512 instructions, not DEFAULT" in capsys.readouterr().out


def test_this_processor_obeys_the_plainest_it_has():
    settings, _ = processors.available()
    assert settings[0] == SETTINGS[0]
    for setting in settings[1:2]:
        assert disobeyed(setting, processors.found(setting)) is None
