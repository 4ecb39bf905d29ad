from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.models import inception_v3


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """InceptionV3 with random weights, in torchvision's layout."""
    torch.manual_seed(0)
    net = inception_v3(weights=None, aux_logits=True, init_weights=False)
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(net.state_dict(), path)
    return path
