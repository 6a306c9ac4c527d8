"""How many threads the networks have beside the others, and who decides."""

import os

import pytest
import torch

from fewshot_reenact import device


@pytest.fixture
def four(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(device, "_USUAL", 4)
    monkeypatch.setattr(device, "_told", [])
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_one_is_left_to_the_others_and_given_back(four):
    with device.one_thread_less():
        assert torch.get_num_threads() == 3
        with device.one_thread_less():
            assert torch.get_num_threads() == 3, "not one less for each of several at once"
    assert torch.get_num_threads() == 4
    with pytest.raises(ValueError, match="x"), device.one_thread_less():
        raise ValueError("x")
    assert torch.get_num_threads() == 4


def test_what_the_user_says_counts(four, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    with device.one_thread_less():
        assert torch.get_num_threads() == 4
    del os.environ["OMP_NUM_THREADS"]
    device.use_threads(4)
    with device.one_thread_less():
        assert torch.get_num_threads() == 4
