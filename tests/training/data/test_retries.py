"""What is tried again, how often and how long: items of an engine, and what is asked of a store."""

from collections.abc import Callable

import fsspec
import pytest

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.training.data import retries, storage
from fewshot_reenact.training.data.retries import RetryQueue, WorkerDied
from fewshot_reenact.training.data.storage import Folder


@pytest.fixture
def waits(monkeypatch):
    """Seconds waited; time goes on by waiting alone."""
    now, waited = [0.0], []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(storage.time, "sleep", sleep)
    monkeypatch.setattr(retries.time, "monotonic", lambda: now[0])
    return waited


def drain(queue: RetryQueue[str], fails: Callable[[str], bool], waits: list[float], died: bool = True) -> list[str]:
    """The items in the order in which they were done."""
    done = []
    while queue:
        one = queue.take()
        if one is None:
            storage.time.sleep(queue.pause())
        elif fails(one.item):
            queue.failed(one, "boom\nand more", died=died)
        else:
            done.append(one.item)
    return done


def test_a_failing_item_waits_longer_each_time_and_the_others_go_first(waits) -> None:
    left = {"b": 2}

    def fails(item: str) -> bool:
        left[item] = left.get(item, 0) - 1
        return left[item] >= 0

    queue = RetryQueue(["a", "b", "c"], lambda item: None)
    assert drain(queue, fails, waits) == ["a", "c", "b"]
    assert waits == pytest.approx([1, 2])
    queue.tell_given_up()


def test_after_three_deaths_it_is_quarantined_else_given_up_and_listed(waits) -> None:
    queue = RetryQueue(["good", "bad", "worse"], lambda item: "good part of bad" if item == "bad" else None)
    assert drain(queue, lambda item: item in ("bad", "worse"), waits) == ["good", "good part of bad"]
    with pytest.raises(
        WorkerDied, match=r"^1 of 3 shards were given up after 3 tries each: worse; the last: boom\. The"
    ):
        queue.tell_given_up()


def test_what_did_not_kill_its_worker_is_not_blamed_on_a_video(waits) -> None:
    queue = RetryQueue(["bad"], lambda item: "a part")
    assert drain(queue, lambda item: item == "bad", waits, died=False) == []


def test_too_many_failures_end_the_run(waits) -> None:
    queue = RetryQueue([str(number) for number in range(100)], lambda item: None)
    with pytest.raises(WorkerDied, match="21 tries failed, more than the 20 that 100 shards may cost"):
        drain(queue, lambda item: True, waits)


class Shaky(fsspec.get_filesystem_class("memory")):
    """A store that fails so many times, with this error, before it answers."""

    protocol = "shaky"
    cachable = False
    left, error = 0, OSError("busy")

    def _shake(self) -> None:
        if Shaky.left > 0:
            Shaky.left -= 1
            raise Shaky.error

    def cat_file(self, *args, **more):
        self._shake()
        return super().cat_file(*args, **more)

    def put_file(self, *args, **more):
        self._shake()
        return super().put_file(*args, **more)


@pytest.fixture
def shaky(monkeypatch):
    fsspec.register_implementation("shaky", Shaky, clobber=True)
    monkeypatch.setattr(Shaky, "left", 0)
    folder = Folder("shaky://bucket/shards")
    folder.make()
    return folder


def test_a_store_that_is_busy_is_asked_again(waits, shaky, monkeypatch) -> None:
    monkeypatch.setattr(Shaky, "left", 3)
    shaky.write("a", b"text")
    assert waits == [0.5, 1, 2]
    monkeypatch.setattr(Shaky, "left", 2)
    assert shaky.read("a", 1, 2) == b"ex" and waits[3:] == [0.5, 1]


@pytest.mark.parametrize(("error", "tries"), [(OSError("busy"), 6), (PermissionError("no"), 1)], ids=str)
def test_it_is_not_asked_for_ever_nor_for_what_does_not_pass(waits, shaky, monkeypatch, error, tries) -> None:
    monkeypatch.setattr(Shaky, "error", error)
    monkeypatch.setattr(Shaky, "left", 99)
    with pytest.raises(InputError, match="cannot be read"):
        shaky.read("a")
    assert len(waits) == tries - 1 and Shaky.left == 99 - tries
    with pytest.raises(UsageError, match="cannot be written"):
        shaky.write("a", b"")
    monkeypatch.setattr(Shaky, "left", 0)
    before = len(waits)
    with pytest.raises(InputError, match="cannot be read"):
        shaky.read("none")
    assert len(waits) == before, "what is not there is not waited for"
