"""`reenact plot`: what a run has logged, as a page and as a picture."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from animate_samples import complaint, names_in, run
from fewshot_reenact import plot, verify
from fewshot_reenact.media.pictures import read_picture
from fewshot_reenact.training.curves import smoothed

BLUE = (0x2F, 0x6F, 0xDF)


def write_run(folder: Path, losses: list[float], *lines: str, pictures: tuple[int, ...] = ()) -> Path:
    """A run's folder: a loss every ten steps, more lines, and sample grids of two episodes."""
    folder.mkdir(parents=True)
    logged = [json.dumps({"step": 10 * (i + 1), "time": 1.0, "loss": loss}) for i, loss in enumerate(losses)]
    (folder / "metrics.jsonl").write_text("\n".join([*logged, *lines]) + "\n")
    for step in pictures:
        (folder / "pictures").mkdir(exist_ok=True)
        grid = np.full((2 * 64, 5 * 64, 3), step % 256, np.uint8)
        cv2.imwrite(str(folder / "pictures" / f"step_{step:07d}.png"), grid)
    return folder


class Page(HTMLParser):
    """Tags and texts of a page; complains about what is not closed."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    def of(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.tags if name == tag]


def test_a_page_has_a_chart_for_each_number_and_needs_nothing_else(tmp_path):
    held_out = '{"step": 30, "held_out": {"loss": 0.25, "eyes": 0.5}}'
    folder = write_run(tmp_path / "mine", [1.0, 0.5, 0.75], held_out, '{"step": 30, "rate": 1e-5}', pictures=(10, 20))
    result = run("plot", folder, "-o", tmp_path / "p.html", "--json", tmp_path / "r.json")
    assert result.exit_code == 0, result.output
    assert "3 charts, 2 sample grids" in result.stdout
    page = Page(tmp_path / "p.html")
    assert [svg["aria-label"] for svg in page.of("svg")] == ["loss", "eyes", "rate"]
    assert "0.75" in page.words and "held out: 0.25" in page.words and "reenact plot: mine at step 30" in page.words
    assert [image["alt"] for image in page.of("img")] == ["mine, step 10", "mine, step 20"]
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.of("img"))
    assert not re.search(r"https?://|<script|<link", (tmp_path / "p.html").read_text("utf-8"))
    assert any("AI-generated" in words for words in page.words)
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["curves"] == ["loss", "eyes", "rate"] and report["samples"] == 2
    assert report["runs"] == {str(folder): 30}


def test_a_curve_goes_where_its_numbers_are(tmp_path):
    """0, 1, 0 over three steps: up to the top in the middle, at both ends at the bottom."""
    page = Page(plot(write_run(tmp_path / "run", [0.0, 1.0, 0.0]), tmp_path / "p.html").output)
    line = next(one["points"] for one in page.of("polyline") if one["stroke"] == "#2f6fdf")
    (x0, y0), (x1, y1), (x2, y2) = (map(float, pair.split(",")) for pair in line.split())
    assert y0 == y2 > y1 + 150
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.15) and x2 - x0 > 300
    picture = read_picture(plot(tmp_path / "run", tmp_path / "p.png").output)
    drawn = np.argwhere(np.abs(picture.astype(int) - BLUE).max(2) < 40)
    top = drawn[np.abs(drawn[:, 0] - drawn[drawn[:, 0] > 60][:, 0].min()) < 3]
    middle = (drawn[:, 1].min() + drawn[:, 1].max()) / 2
    assert abs(top[:, 1].mean() - middle) < 6


def test_a_wide_range_is_logarithmic_and_says_so(tmp_path):
    decades = [1000.0, 100.0, 10.0, 1.0]
    page = Page(plot(write_run(tmp_path / "run", decades), tmp_path / "p.html").output)
    assert "loss (logarithmic)" in page.words and {"1", "10", "100", "1000"} <= set(page.words)
    line = next(one["points"] for one in page.of("polyline") if one["stroke"] == "#2f6fdf")
    heights = [float(pair.split(",")[1]) for pair in line.split()]
    assert np.diff(heights) == pytest.approx([heights[1] - heights[0]] * 3, abs=0.15)


def test_several_runs_share_charts(tmp_path):
    one, two = write_run(tmp_path / "one", [3.0, 2.0]), write_run(tmp_path / "two", [4.0, 1.0])
    page = Page(plot([one, two], tmp_path / "p.html").output)
    assert len(page.of("svg")) == 1 and {"one: 2", "two: 1"} <= set(page.words)


def test_numbers_are_chosen_and_smoothed(tmp_path):
    folder = write_run(tmp_path / "run", [1.0, 0.0], '{"step": 20, "rate": 0.1}')
    made = plot(folder, tmp_path / "p.html", only=["loss"], smooth=0.5)
    assert made.curves == ["loss"]
    assert "0.3333" in Page(made.output).words  # 1 weighs a half of what 0 does
    assert smoothed(np.full(4, 7.0), 0.9) == pytest.approx([7.0] * 4)
    assert "choose from loss, rate" in complaint(run("plot", folder, "-o", tmp_path / "q.html", "--only", "l1"), 2)


def test_what_is_damaged_is_left_out_and_told(tmp_path):
    lines = [
        "nonsense",
        '{"step": "x"}',
        "[1]",
        '"a"',
        '{"step": 9, "held_out": [1]}',
        '{"step": 9, "\\ud800": 1}',
        '{"step": 40, "loss": NaN, "note": "hi", "ok": true, "l1": 1e300}',
    ]
    folder = write_run(tmp_path / "run", [1.0, 2.0], *lines, '{"step": 50, "<b>": 3}', pictures=(10,))
    (folder / "pictures" / "step_0000020.png").write_text("no picture")
    made = plot(folder, tmp_path / "p.html")
    assert made.curves == ["loss", "?", "<b>"] and made.samples == 1 and made.runs == {str(folder): 50}
    assert "5 lines could not be read" in made.warnings[0] and "step_0000020.png" in made.warnings[1]
    assert "<b>" not in made.output.read_text("utf-8")


@pytest.mark.parametrize("seed", range(12))
def test_any_numbers_can_be_drawn(tmp_path, seed):
    """From 1e-29 to 1e29, of either sign, close together or far apart, one or many."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.integers(-29, 29)
    values = rng.choice([0.0, scale, -scale, 1e-29, 1e29], rng.integers(1, 30)) * (1 + rng.random() * 1e-9)
    made = plot(write_run(tmp_path / "run", [float(value) for value in values]), tmp_path / "p.html")
    page = Page(made.output)
    numbers = [pair for one in page.of("polyline") for point in one["points"].split() for pair in point.split(",")]
    assert all(-1 <= float(number) <= 500 for number in numbers)
    ticks = [words for words in page.words if re.fullmatch(r"-?[\d.]+(e[+-]?\d+)?", words)]
    assert len(ticks) < 40
    assert plot(tmp_path / "run", tmp_path / "p.png").output.is_file()


def test_a_step_that_was_done_twice_counts_as_it_was_done_last(tmp_path):
    folder = write_run(tmp_path / "run", [1.0, 2.0], '{"step": 20, "loss": 5.0}')
    assert "5" in Page(plot(folder, tmp_path / "p.html").output).words


def test_a_picture_with_made_faces_is_marked_and_one_of_curves_is_not(tmp_path):
    folder = write_run(tmp_path / "run", [1.0, 2.0], pictures=(10,))
    (found,) = verify(plot(folder, tmp_path / "faces.png").output)
    assert found.made_by_this_tool and found.watermark
    plain = plot(folder, tmp_path / "curves.png", samples=0)
    assert plain.samples == 0
    (found,) = verify(plain.output)
    assert not found.made_by_this_tool
    with Image.open(plain.output) as image:
        assert image.text["Comment"].startswith("Curves of training runs")


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["none"], 3, "none: no such folder; name one that `reenact train --run` wrote"),
        (["empty"], 3, "holds no metrics.jsonl"),
        (["silent"], 3, "no step is logged in it yet"),
        (["run", "-o", "p.txt"], 2, "cannot write this kind of file"),
        (["run", "-o", "there.html"], 2, "exists already; use --overwrite"),
        (["run", "--smooth", "1"], 2, "is not in the range"),
        (["run"] * 9, 2, "8 at most"),
    ],
)
def test_what_cannot_be_plotted_is_one_line(tmp_path, monkeypatch, args, code, says):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run", [1.0])
    write_run(tmp_path / "silent", [])
    (tmp_path / "empty").mkdir()
    (tmp_path / "there.html").write_text("mine")
    before = names_in(tmp_path)
    assert says in complaint(run("plot", *args), code)
    assert names_in(tmp_path) == before and (tmp_path / "there.html").read_text() == "mine"


def test_the_default_output_is_named_after_the_run(tmp_path, monkeypatch):
    write_run(tmp_path / "runs" / "mine", [1.0, 2.0])
    monkeypatch.chdir(tmp_path / "runs" / "mine")
    assert run("plot", ".").exit_code == 0 and Path("mine--curves.html").is_file()
