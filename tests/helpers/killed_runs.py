"""A training run that dies between two checkpoints."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fewshot_reenact.training.trainer import Trainer


class _Killed(BaseException):
    pass


@contextmanager
def dies_at(number: int) -> Iterator[None]:
    """The run inside must reach this step, and dies there as by kill -9: nothing is caught, nothing saved."""
    step = Trainer.advance

    def dies(self, batch):
        if self.step == number:
            raise _Killed
        return step(self, batch)

    with pytest.MonkeyPatch.context() as m:
        m.setattr(Trainer, "advance", dies)
        with pytest.raises(_Killed):
            yield
