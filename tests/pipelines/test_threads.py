"""How many threads the networks have beside the others, and who decides."""

import os
import sys

import pytest
import torch

from fewshot_reenact import device
from fewshot_reenact.rendering.threads import begun, beside, short_turns


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


def test_turns_are_short_while_it_renders_and_as_they_were_after():
    before = sys.getswitchinterval()
    with pytest.raises(ValueError, match="x"), short_turns():
        assert sys.getswitchinterval() < 1e-3 < before
        with short_turns():
            pass
        assert sys.getswitchinterval() < 1e-3, "others still render"
        raise ValueError("x")
    assert sys.getswitchinterval() == before


def test_the_next_piece_of_work_is_begun_before_one_is_waited_for():
    asked = []

    def work():
        for number in range(4):
            asked.append(number)
            yield number

    seen = []
    for one in begun(work()):
        seen.append((one, list(asked)))
    assert seen == [(0, [0, 1]), (1, [0, 1, 2]), (2, [0, 1, 2, 3]), (3, [0, 1, 2, 3])]


def test_work_beside_brings_its_result_or_its_error():
    def fails():
        raise ValueError("no luck")

    assert beside(lambda: 7).result() == 7
    with pytest.raises(ValueError, match="no luck"):
        beside(fails).result()
