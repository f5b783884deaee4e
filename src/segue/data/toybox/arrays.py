"""Names for the arrays that Toybox computes with."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
"""Geometry: precise enough that every machine decides alike."""

Floats32 = NDArray[np.float32]
"""Light."""

Ints = NDArray[np.int64]
Shorts = NDArray[np.int16]
Bools = NDArray[np.bool_]
Whole = NDArray[np.int32] | NDArray[np.int64]
