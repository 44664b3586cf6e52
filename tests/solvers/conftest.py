from __future__ import annotations

import pytest

from instances import two_clusters
from problems.laws import GaussianMixture


@pytest.fixture
def mixture() -> GaussianMixture:
    return two_clusters()
