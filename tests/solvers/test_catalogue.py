import pytest

from solvers import BUILTIN


@pytest.mark.parametrize("name", sorted(BUILTIN.keys() - {"oracle", "initial"}))
def test_the_file_that_bears_a_name_holds_the_method(name):
    module, _ = BUILTIN[name].split(":")
    assert module.split(".")[-1] == name.replace("-", "_")
