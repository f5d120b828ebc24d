"""Made-up inputs: PCM spans its range, other integers may be row numbers."""

import numpy as np

from edgeport import TensorSpec
from edgeport_converter.data.made_up import Draw, random_inputs
from edgeport_converter.verification.telling_inputs import varied_samples

SHAPE, AXES = ("N", 4000), ("N", "T")
PCM = TensorSpec("pcm", np.dtype(np.int16), SHAPE, AXES, (-32768.0, 32767.0))
ROWS = TensorSpec("rows", np.dtype(np.int16), SHAPE, AXES)


def test_pcm_is_drawn_from_its_whole_range_and_row_numbers_are_not():
    arrays = random_inputs((PCM, ROWS), 2, 1, 0, Draw(largest=9))
    assert arrays["pcm"].dtype == np.int16
    assert arrays["pcm"].min() < -32000
    assert arrays["pcm"].max() > 32000
    assert set(np.unique(arrays["rows"])) == set(range(10))


def test_made_up_pcm_is_loud_and_quiet():
    batch = random_inputs((PCM, ROWS), 2, 1, 0, Draw(largest=9))
    varied = varied_samples((PCM, ROWS), batch)
    loudest = np.abs(varied["pcm"].astype(int)).max(axis=1)
    assert loudest.max() > 30000
    assert 0 < loudest.min() <= 32
    assert set(np.unique(varied["rows"])) == set(range(10))
