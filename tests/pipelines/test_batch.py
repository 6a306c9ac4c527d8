"""`reenact batch`, through the command line: what is done, what is told, and what a second call does."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from animate_samples import WALK, complaint, film, frames_of, portrait_file, run
from fake_face import PaintedFaces
from fewshot_reenact.landmarks import registry
from fewshot_reenact.pipelines import animate_steps, networks


@pytest.fixture(autouse=True)
def painted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(registry.BACKENDS, "builtin", lambda device: PaintedFaces())
    yield


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """portraits/ with two pictures and drivers/ with a video and a file that is none."""
    for name in ("portraits", "drivers"):
        (tmp_path / "people" / name).mkdir(parents=True)
    for name in ("ann", "bob"):
        portrait_file(tmp_path / "people" / "portraits" / f"{name}.png")
    film(tmp_path / "people" / "drivers" / "walk.mp4", WALK[:4])
    return tmp_path / "people"


def results(text: str) -> dict[str, dict]:
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return {Path(one["output"]).name: one for one in lines}


def test_every_portrait_with_every_driver(
    people: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    load_model = networks.load_model
    for module in (animate_steps, networks):
        monkeypatch.setattr(module, "load_model", lambda *args: loads.append(args) or load_model(*args))
    (people / "drivers" / "bad.mp4").write_text("no video at all")
    out = tmp_path / "videos"
    command = ("batch", people, "-o", out, "--model", tiny_model, "--no-label")
    first = run(*command)
    assert first.exit_code == 3 and len(loads) == 1
    told = results(first.stdout)
    assert {name: one["status"] for name, one in told.items()} == {
        "ann--bad.mp4": "failed", "ann--walk.mp4": "done", "bob--bad.mp4": "failed", "bob--walk.mp4": "done",
    }  # fmt: skip
    assert told["ann--walk.mp4"]["frames"] == 4 and len(frames_of(out / "bob--walk.mp4")) == 4
    assert "2 of 4 jobs failed" in first.stderr and "bad.mp4" in told["ann--bad.mp4"]["reason"]
    assert first.stderr.count(told["ann--bad.mp4"]["reason"]) >= 1

    # A second call makes nothing anew, and tries what failed only when it is asked to; what is missing it does.
    (out / "bob--walk.mp4").unlink()
    before = (out / "ann--walk.mp4").stat().st_mtime_ns
    second = run(*command)
    again = results(second.stdout)
    assert second.exit_code == 3 and [name for name, one in again.items() if one["new"]] == ["bob--walk.mp4"]
    assert (out / "ann--walk.mp4").stat().st_mtime_ns == before and (out / "bob--walk.mp4").is_file()
    (people / "drivers" / "bad.mp4").unlink()
    film(people / "drivers" / "bad.mp4", WALK[:3])
    third = run(*command, "--retry")
    assert third.exit_code == 0 and (out / "ann--bad.mp4").is_file()
    assert sorted(name for name, one in results(third.stdout).items() if one["new"]) == ["ann--bad.mp4", "bob--bad.mp4"]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_jobs_in_a_file_have_options_of_their_own(kind: str, people: Path, tmp_path: Path, tiny_model: Path) -> None:
    jobs = people / f"jobs.{kind}"
    rows = [
        {"portrait": "portraits/ann.png", "driver": "drivers/walk.mp4", "output": "a.mp4", "strength": 0.5},
        {"portrait": "portraits/ann.png", "driver": "motion:blink", "output": "b.mp4", "end": 0.2, "label": False},
    ]
    if kind == "jsonl":
        jobs.write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    else:
        jobs.write_text(
            "portrait,driver,output,strength,end,label\n"
            "portraits/ann.png,drivers/walk.mp4,a.mp4,0.5,,\nportraits/ann.png,motion:blink,b.mp4,,0.2,False\n"
        )
    done = run("batch", jobs, "-o", tmp_path / "out", "--model", tiny_model)
    assert done.exit_code == 0, done.output
    assert {name: one["frames"] for name, one in results(done.stdout).items()} == {"a.mp4": 4, "b.mp4": 5}
    # Another job for a file that is there writes nothing over.
    jobs.write_text(json.dumps({**rows[0], "strength": 1.0})) if kind == "jsonl" else None
    if kind == "jsonl":
        refused = run("batch", jobs, "-o", tmp_path / "out", "--model", tiny_model)
        assert refused.exit_code == 3 and "exists already, from another job" in refused.stderr


def test_what_is_wrong_is_told_before_anything_is_done(people: Path, tmp_path: Path) -> None:
    out, jobs = tmp_path / "out", tmp_path / "jobs.jsonl"
    job = {"portrait": "a.png", "driver": "b.mp4"}
    for text, code, said in (
        ("", 3, "no jobs"),
        ("{", 3, "jobs.jsonl:1: is no JSON"),
        ("[1]", 3, "is no job"),
        (json.dumps({"portrait": "a.png"}), 3, "has no driver"),
        (json.dumps({**job, "strenght": 1}), 2, "'strenght' is not known"),
        (json.dumps({**job, "strength": 9}), 2, "jobs.jsonl:1: strength 9"),
        (json.dumps({**job, "strength": "much"}), 2, "wrong kind"),
        (f"{json.dumps(job)}\n{json.dumps(job)}", 2, "jobs 1 and 2 would both write"),
    ):
        jobs.write_text(text)
        assert said in complaint(run("batch", jobs, "-o", out), code)
    assert "no such file" in complaint(run("batch", tmp_path / "none.jsonl", "-o", out), 3)
    (people / "drivers" / "walk.mp4").rename(people / "walk.mp4")
    (people / "drivers").rmdir()
    assert "has no folder 'drivers'" in complaint(run("batch", people, "-o", out), 3)
    assert not out.exists()


@pytest.mark.slow
def test_workers_do_the_same(assets: Path, tmp_path: Path, tiny_model: Path) -> None:
    """Real processes, so real landmarks."""
    jobs = tmp_path / "jobs.jsonl"
    rows = [{"portrait": str(assets / f"{name}.jpg"), "driver": "motion:nod", "end": 0.1} for name in
            ("astronaut", "grace_hopper")]  # fmt: skip
    rows.append({"portrait": str(tmp_path / "none.jpg"), "driver": "motion:nod"})
    jobs.write_text("\n".join(map(json.dumps, rows)))
    done = run("batch", jobs, "-o", tmp_path / "out", "--workers", 2, "--model", tiny_model)
    assert done.exit_code == 3
    assert [one["status"] for _, one in sorted(results(done.stdout).items())] == ["done", "done", "failed"]
    assert len(frames_of(tmp_path / "out" / "astronaut--nod.mp4")) == 3


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there a console's Ctrl-C cannot be sent to one group")
def test_ctrl_c_ends_all_workers_and_nothing_more_is_begun(assets: Path, tmp_path: Path, tiny_model: Path) -> None:
    """As a terminal sends it: to the first process and to its workers. The second call does what is missing."""
    jobs, out = tmp_path / "jobs.jsonl", tmp_path / "out"
    rows = [
        {"portrait": str(assets / "astronaut.jpg"), "driver": "motion:nod", "end": end, "output": f"{number}.mp4"}
        for number, end in enumerate([0.1, *[3.0] * 5])
    ]
    jobs.write_text("\n".join(map(json.dumps, rows)))
    words = ["batch", str(jobs), "-o", str(out), "--workers", "2", "--model", str(tiny_model), "--accept-use"]
    command = [sys.executable, "-m", "fewshot_reenact", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        first = json.loads(process.stdout.readline())
        os.killpg(process.pid, signal.SIGINT)
        rest, said = process.stdout.read(), process.stderr.read()  # to their ends: no worker is left that holds them
        assert process.wait(60) == 130
    assert first["status"] == "done" and len(results(rest)) < 4
    assert "interrupted" in said and "Traceback" not in said
    told = {Path(json.loads(line)["output"]).name for line in (out / "results.jsonl").read_text().splitlines()}
    made = {path.name for path in out.glob("*.mp4")}
    assert told == made and Path(first["output"]).name in made and len(made) < 5
    assert not list(out.glob("*.partial"))
