"""JSON of others: whatever is wrong with it, one kind of error says so."""

from pathlib import Path

import pytest

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.losses import LossWeights
from fewshot_reenact.pipelines.batch import _kept
from fewshot_reenact.pipelines.jobs import read_jobs
from fewshot_reenact.plain_json import read_json, read_object
from fewshot_reenact.training.packed import is_packed
from fewshot_reenact.training.refiner.train import remember_base

DEEP = "[" * 100_000


@pytest.mark.parametrize("text", ["", "{", DEEP, b"\xff\xfe{", '{"a": ' + DEEP])
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    for read in (read_json, read_object):
        with pytest.raises(ValueError, match=r"."):
            read(text)


@pytest.mark.parametrize("text", ["1", "null", "[]", '"a"', "true"])
def test_an_object_is_asked_for(text: str) -> None:
    with pytest.raises(ValueError, match="no JSON object"):
        read_object(text)
    assert read_object(b'{"a": [1]}') == {"a": [1]}


@pytest.mark.parametrize("text", [DEEP, "[]", "7", '{"faces": 3}'])
def test_records_beside_data(tmp_path: Path, text: str) -> None:
    (tmp_path / "base.json").write_text(text)
    with pytest.raises(UsageError, match=r"base\.json"):
        remember_base("mine", tmp_path)
    (tmp_path / "packed.json").write_text(text)
    with pytest.raises(UsageError, match=r"packed\.json"):
        is_packed(tmp_path, {"model": "mine"}, "*.npz")


@pytest.mark.parametrize("text", [DEEP, "[]", '{"nothing": 1}'])
def test_descriptions_of_networks(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ModelDimensions.from_json(text)
    if text != '{"nothing": 1}':  # names that this version does not know are left out
        with pytest.raises(ValueError, match=r"."):
            LossWeights.from_json(text)


def test_jobs_and_ledgers(tmp_path: Path) -> None:
    (tmp_path / "jobs.jsonl").write_text(DEEP + "\n")
    with pytest.raises(InputError, match=r"jobs\.jsonl:1: is no JSON"):
        read_jobs(tmp_path / "jobs.jsonl", tmp_path / "out")
    (tmp_path / "ledger").write_text(
        "\n".join([DEEP, "3", '{"output": [], "status": 1, "portrait": 2, "driver": 3, "key": 4, "reason": 5}'])
    )
    assert _kept(tmp_path / "ledger") == {}
