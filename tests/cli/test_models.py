"""`reenact models` and `reenact push`: what is here, and a folder that is ready for the Hub."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import yaml

from animate_samples import complaint, names_in, run
from fewshot_reenact.models.cards import built_in_head, without_head
from fewshot_reenact.models.checkpoint import DEFAULT_MODEL, load_model
from fewshot_reenact.pipelines import models
from fewshot_reenact.weights import WEIGHTS

CARDS = sorted(WEIGHTS.glob("*.md"))


def head_of(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.stem)
def test_every_card_has_its_head(card: Path) -> None:
    """The scripts under scripts/build write the same one."""
    text = card.read_text("utf-8")
    assert text.startswith(built_in_head(card.stem) + "\n# ")
    head = head_of(text)
    assert head["license"] == "apache-2.0" and head["library_name"] == "fewshot-reenact" and head["tags"]
    assert without_head(text).startswith("# ")


def test_the_hubs_own_library_reads_a_head() -> None:
    hub = pytest.importorskip("huggingface_hub", reason="needs the extra hub")
    data = hub.ModelCard(DEFAULT_MODEL.with_suffix(".md").read_text("utf-8")).data
    assert data.license == "apache-2.0" and data.pipeline_tag == "image-to-video" and "talking-head" in data.tags


def test_the_built_in_weights_are_listed_and_whole(monkeypatch) -> None:
    monkeypatch.setattr(models, "downloaded", list)
    result = run("models")
    assert result.exit_code == 0 and f"{WEIGHTS}:" in result.output
    rows = json.loads(run("models", "--json").output)
    assert {row["name"] for row in rows} == {path.name for path in WEIGHTS.iterdir() if path.suffix != ".md"}
    assert all(row["state"] == "ok" and row["about"] and Path(row["path"]).is_file() for row in rows)
    assert "The default model" in result.output


def test_weights_that_were_changed_are_told(tmp_path, monkeypatch) -> None:
    for name in ("motions.npz", "motions.md"):
        shutil.copy(WEIGHTS / name, tmp_path)
    with (tmp_path / "motions.npz").open("ab") as file:
        file.write(b"x")
    monkeypatch.setattr(models, "WEIGHTS", tmp_path)
    monkeypatch.setattr(models, "downloaded", list)
    result = run("models")
    assert result.exit_code == 4 and "differs from its model card" in result.output


def test_one_model_says_what_it_is(tiny_model, tmp_path) -> None:
    (row,) = json.loads(run("models", tiny_model, "--json").output)
    assert row["sha256"] == hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    assert (row["kind"], row["size"], row["state"]) == ("textured", 64, "ok")
    assert row["parameters"] == sum(one.numel() for one in load_model(tiny_model).state_dict().values())
    assert "no such file" in complaint(run("models", tmp_path / "none.safetensors"), 4)
    (tmp_path / "text.safetensors").write_text("no weights")
    assert "damaged or not weights" in complaint(run("models", tmp_path / "text.safetensors"), 4)


def test_a_model_becomes_a_folder_for_the_hub(tiny_model, tmp_path) -> None:
    args = ["push", tiny_model, "-o", tmp_path / "up", "--name", "me/mine", "--license", "cc-by-4.0"]
    result = run(*args, "--data", "Films of three colleagues, who agreed.", "--json", tmp_path / "r.json")
    assert result.exit_code == 0, result.output
    assert names_in(tmp_path / "up") == ["README.md", "SHA256SUMS", "model.safetensors"]
    digest = hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    assert hashlib.sha256((tmp_path / "up" / "model.safetensors").read_bytes()).hexdigest() == digest
    assert (tmp_path / "up" / "SHA256SUMS").read_text() == f"{digest}  model.safetensors\n"
    card = (tmp_path / "up" / "README.md").read_text("utf-8")
    assert head_of(card)["license"] == "cc-by-4.0" and head_of(card)["pipeline_tag"] == "image-to-video"
    assert "# mine\n" in card and "--model hf:me/mine" in card and "who agreed." in card and digest in card
    assert "AI-generated" in card
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["upload"] == f"hf upload me/mine {tmp_path / 'up'}" and report["upload"] in result.output
    assert "exists already" in complaint(run(*args), 2)
    assert run(*args, "--overwrite").exit_code == 0


def test_the_built_in_model_has_its_own_card_and_licence(tmp_path) -> None:
    assert run("push", "-o", tmp_path / "up").exit_code == 0
    card = (tmp_path / "up" / "README.md").read_text("utf-8")
    assert head_of(card)["license"] == "apache-2.0" and "Made for research" in card and card.count("\n---\n") == 1


def test_what_is_not_pushed(tiny_model, tmp_path) -> None:
    out = ["-o", tmp_path / "up"]
    assert "--license" in complaint(run("push", tiny_model, *out), 2)
    assert "OWNER/NAME" in complaint(run("push", tiny_model, *out, "--license", "mit", "--name", "mine"), 2)
    assert "the Hub's name of one" in complaint(run("push", tiny_model, *out, "--license", "my licence\nx: y"), 2)
    other = WEIGHTS / "detector.safetensors"
    assert "made for" in complaint(run("push", other, *out, "--license", "mit"), 4)
    assert "no folder" in complaint(run("push", "-o", tmp_path / "none" / "up"), 2)
    assert not (tmp_path / "up").exists()


def test_nobodys_face_is_published(assets, tiny_model, tmp_path) -> None:
    from fewshot_reenact import finetune

    me = tmp_path / "me.safetensors"
    finetune(assets / "astronaut.jpg", me, model=tiny_model, steps=0)
    assert "one person's face" in complaint(run("push", me, "-o", tmp_path / "up", "--license", "mit"), 4)
    assert not (tmp_path / "up").exists()
