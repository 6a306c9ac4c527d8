"""What the page offers: every option or the reason why not, and nothing of the server's own files."""

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from animate_samples import run
from fewshot_reenact.app.form import fields_for, files_of, options_from
from fewshot_reenact.app.terms import Limits, Offer, named_models
from fewshot_reenact.app.visitors import Visitors
from fewshot_reenact.cli.ui import option_help
from fewshot_reenact.errors import ModelError, ReenactError, UsageError
from fewshot_reenact.models.checkpoint import DEFAULT_MODEL
from fewshot_reenact.pipelines.extract import extract
from fewshot_reenact.pipelines.options import AnimateOptions
from fewshot_reenact.provenance.watermark_key import make_watermark_key
from local_ports import free_port

DOCS = Path(__file__).parents[2] / "docs" / "page.md"
LOCAL = {"any_size", "landmarks", "timestamp"}


def filled(offer: Offer, **more: object) -> dict[str, object]:
    return {**{field.name: field.default for field in fields_for(offer)}, **more}


def in_table(text: str) -> list[str]:
    """Options in a table's first column."""
    return [option for row in re.findall(r"^\| (`--.*?) \|", text, re.M) for option in re.findall("`(--[a-z-]+)", row)]


def test_every_option_is_on_the_page_or_the_manual_says_why_not():
    from fewshot_reenact.cli.animate import animate

    offered = {field.option for field in fields_for(Offer(local=True, models={"mine": "mine.safetensors"}))}
    names = {option: param.name for param in animate.params for option in param.opts if option.startswith("--")}
    elsewhere, _, conditional = (
        DOCS.read_text("utf-8").partition("## Options that are elsewhere")[2].partition("| where")
    )
    explained = {names[option] for option in in_table(elsewhere)}
    assert explained and not explained & offered, "the manual says that it is elsewhere"
    assert {names[option] for option in in_table(conditional)} == LOCAL | {"device", "model"}
    assert set(names.values()) - explained - offered == set()
    assert offered <= set(option_help()), "a tip is not the command's own"


def test_what_uses_the_network_is_for_the_machines_own_user():
    for_all, own = ({field.name for field in fields_for(Offer(local=local))} for local in (False, True))
    assert own - for_all == LOCAL and for_all < own
    asked = filled(Offer(local=True), timestamp="http://127.0.0.1:1/", landmarks="fan", any_size=True)
    options = options_from(asked, "", Offer())
    assert (options.timestamp, options.landmarks, options.any_size) == (None, "builtin", False)
    options = options_from(asked, "", Offer(local=True))
    assert (options.timestamp, options.landmarks, options.any_size) == ("http://127.0.0.1:1/", "fan", True)


def test_no_file_of_the_server_is_named_by_a_visitor(assets: Path):
    offer = Offer(local=True, models={"mine": "/srv/mine.safetensors"})
    for name in (str(assets / "astronaut.jpg"), "astronaut.jpg", "/etc/passwd", "file:///etc/passwd", "nocolour"):
        with pytest.raises(UsageError, match="neither a colour"):
            options_from(filled(offer, background=name), "", offer)
    for name in ("/srv/mine.safetensors", "hf:ann/bad", "other"):
        with pytest.raises(UsageError, match="Weights"):
            options_from(filled(offer, model=name), "", offer)
    with pytest.raises(UsageError, match="is not one of"):
        options_from(filled(offer, device="cuda:7"), "", offer)
    assert options_from(filled(offer, model="mine"), "", offer).model == "/srv/mine.safetensors"
    assert options_from(filled(offer), "", offer).model is None
    assert "model" not in {field.name for field in fields_for(Offer(local=True))}


def test_what_is_behind_the_person_is_a_colour_or_a_picture_that_is_put_in():
    def given(**more: object) -> AnimateOptions:
        return options_from(filled(Offer(), **more), "", Offer())

    assert given(background=" Transparent ").background == "transparent"
    assert given(background="#1e90ff").background == "#1e90ff" and given().background is None
    chosen = given(background_picture="/tmp/beach.jpg", matte="/tmp/matte.png", consent_file="/tmp/said.pdf")
    assert chosen.background == "/tmp/beach.jpg"
    assert files_of(chosen) == ["/tmp/beach.jpg", "/tmp/matte.png", "/tmp/said.pdf"]
    assert files_of(given(background="white")) == []
    with pytest.raises(UsageError, match="leave one out"):
        given(background="white", background_picture="/tmp/beach.jpg")


def test_models_have_names_without_folders(tmp_path: Path):
    given = [str(tmp_path / "one.safetensors"), "hf:ann/small@v2"]
    assert named_models(given) == {"one.safetensors": given[0], "hf:ann/small@v2": "hf:ann/small@v2"}
    with pytest.raises(UsageError, match="another one has this name"):
        named_models([str(tmp_path / "a" / "x.safetensors"), str(tmp_path / "b" / "x.safetensors")])


def test_errors_do_not_say_where_files_lie(tmp_path: Path):
    key = tmp_path / "my keys" / "mark.key"
    offer = Offer(models={"x.safetensors": "/srv/weights/x.safetensors"}, watermark_key=key)
    visitors = Visitors(tmp_path / "put-in", Limits(), offer)
    text = f"{tmp_path}/put-in/0a1b/my face.jpg: no face; /srv/weights/x.safetensors: bad; {key}: open to others"
    assert visitors.nameless(text) == "my face.jpg: no face; x.safetensors: bad; mark.key: open to others"


def test_what_cannot_be_offered_is_said_before_anything_is_served(tmp_path: Path):
    port = ("ui", "--port", free_port())
    missing = run(*port, "--model", tmp_path / "none.safetensors")
    assert missing.exit_code == ModelError.exit_code and "none.safetensors" in missing.stderr
    half = run(*port, "--sign-cert", tmp_path / "cert.pem")
    assert half.exit_code == 2 and "go together" in half.stderr
    no_key = run(*port, "--watermark-key", tmp_path / "none.key")
    assert no_key.exit_code == 3 and "none.key" in no_key.stderr
    assert all(len(result.stderr.splitlines()) == 1 for result in (missing, half, no_key))
    Offer(models={"again": str(DEFAULT_MODEL)}).check()


@pytest.mark.slow
def test_outputs_have_the_servers_watermark_and_the_visitors_matte_ground_and_statement(assets: Path, tmp_path: Path):
    key = tmp_path / "secret" / "mark.key"
    key.parent.mkdir()
    make_watermark_key(key)
    offer = Offer(watermark_key=key, models={"again": str(DEFAULT_MODEL)})
    visitors = Visitors(tmp_path / "page", Limits(), offer)
    put_in = tmp_path / "page" / "0a1b"
    put_in.mkdir()
    portrait = str(shutil.copy(assets / "astronaut.jpg", put_in))
    matte, ground, statement = put_in / "matte.png", put_in / "ground.png", put_in / "statement.txt"
    mask = np.zeros((512, 512), np.uint8)
    mask[:, 60:420] = 255
    cv2.imwrite(str(matte), mask)
    cv2.imwrite(str(ground), np.full((64, 64, 3), (0, 200, 0), np.uint8))
    statement.write_text("I agree. Ann")
    extract(assets / "driver.mp4", put_in / "driver.npz", end=0.08)
    given = filled(offer, background_picture=str(ground), matte=str(matte), consent_file=str(statement), model="again")
    visitor = visitors.of("ann")
    made = visitor.animate([portrait], str(put_in / "driver.npz"), "", options_from(given, "she agreed", offer))
    _, corner = cv2.VideoCapture(str(made.output)).read()
    blue, green, red = corner[20, 480].tolist()
    assert green > 150 and max(blue, red) < 60, "the ground that was put in is not behind the person"
    assert "key" in made.marks and "she agreed" in made.marks and str(tmp_path) not in made.marks
    assert run("verify", made.output, "--watermark-key", key).exit_code == 0
    report = made.report.read_text("utf-8")
    settings = json.loads(report)["settings"]
    assert settings["watermark_key"] == "mark.key" and settings["matte"] == "matte.png" and settings["model"]
    assert str(tmp_path) not in report and str(DEFAULT_MODEL.parent) not in report
    visitors.leave("ann")
    assert not any(path.exists() for path in (matte, ground, statement)) and key.exists()


def test_what_nothing_is_made_of_goes_too(assets: Path, tmp_path: Path):
    visitors = Visitors(tmp_path)
    matte = tmp_path / "put-in" / "matte.png"
    matte.parent.mkdir()
    matte.write_bytes(b"a shape")
    options = AnimateOptions(matte=str(matte), consent="she agreed")
    with pytest.raises(ReenactError):
        visitors.of("ann").animate([str(assets / "README.md")], None, "blink", options)
    visitors.leave("ann")
    assert not matte.exists()
