"""The meters' edges; what they count is checked where memory is the subject: in accumulation."""

import pytest
import torch

from sgdlib.deep import SavedBytes


@pytest.mark.parametrize("bad", [None, 3, 1.5, object(), [3], "a", [torch.ones(2), None]])
def test_what_is_no_tensor_is_named(bad):
    with pytest.raises(
        TypeError, match=r"exclude(=.*expected an iterable|.\d.: expected a tensor)"
    ):
        SavedBytes(bad)
