"""Types of numpy arrays, named by what they hold: real numbers, complex ones, truth values, or anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]
Flags = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]
