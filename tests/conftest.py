import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
SMALL_DIGITS = "digits:train=60,val=30,test=40"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABELATTACK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data_root():
    root = os.environ.get("LABELATTACK_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("needs the real data: set LABELATTACK_DATA to the folder that holds them")
    return Path(root)
