"""What the fuzzer begins with: small good files of every kind that the tool reads, each with the commands that read it.

They are made by the tool and by its libraries, of painted faces and tiny networks; nothing comes from elsewhere.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from PIL import Image

from animate_samples import WALK, face_picture, film, portrait_file
from fake_face import PaintedFaces, points_in
from fewshot_reenact import animate, extract
from fewshot_reenact.inputs.person import Person, save_person
from fewshot_reenact.inputs.portrait import Portrait
from fewshot_reenact.media.pictures import read_picture
from fewshot_reenact.models.checkpoint import save_model
from fewshot_reenact.motion.files import load_motion
from fewshot_reenact.motion.motion import Motion
from fewshot_reenact.motion.openseeface import OURS, PACKET
from fewshot_reenact.provenance.keys import make_credentials
from fewshot_reenact.training.config import TrainConfig
from fewshot_reenact.training.config_files import CONFIGS
from fewshot_reenact.training.data.clipping import ClipOptions
from fewshot_reenact.training.data.prepare import prepare
from fewshot_reenact.training.loop import train
from network_samples import feature_net, model
from painted_clips import write_clips
from video_samples import ffmpeg

MODEL = {
    "kind": "textured", "size": 32, "embedding": 8, "embedder_channels": [8, 8], "down_channels": [8, 8],
    "up_channels": [8, 8], "residual_blocks": 1, "embedder_unshuffle": 2, "generator_unshuffle": 2, "stem": 8,
    "skips": True, "spectral_norm": False, "attention": False,
}  # fmt: skip


@dataclass(frozen=True)
class Seed:
    """A good file. kind: pictures, videos, ... path: relative to the folder of seeds. commands: lines of the tool, of
    which an input is given to one; FILE in them is the changed file, DIR its folder, where that is copied whole.
    """

    kind: str
    path: str
    commands: tuple[str, ...]
    whole: bool = False


def make_seeds(folder: Path) -> None:
    """Writes the good files and seeds.json, the list of them, into an empty folder."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    faces, seeds = PaintedFaces(), list[Seed]()
    portrait_file(folder / "portrait.png")
    net = folder / "model.safetensors"
    save_model(model(trained=True), net)
    _pictures(folder, seeds)
    driver = _videos(folder, seeds)
    extract(driver, folder / "walk.npz", landmarks=faces)
    extract(driver, folder / "walk.json", landmarks=faces)
    extract(driver, folder / "walk.jsonl", landmarks=faces)
    extract(driver, folder / "walk.csv", landmarks=faces, blendshapes=True)
    _log(folder / "walk.osf", load_motion(folder / "walk.npz"))
    few = "animate PORTRAIT FILE --warp-only --no-label --end 0.1 -o o.mp4"
    seeds += [
        Seed("motion files", f"walk.{kind}", (few, "check FILE", few))
        for kind in ("npz", "json", "jsonl", "csv", "osf")
    ]
    _networks(folder, seeds)
    _training(folder, seeds)
    _marks(folder, seeds, driver)
    (folder / "seeds.json").write_text(json.dumps([dataclasses.asdict(one) for one in seeds]))


def _log(path: Path, motion: Motion) -> None:
    """A log of OpenSeeFace of the same face."""
    packets = np.zeros(len(motion), PACKET)
    packets["time"], packets["size"], packets["confidence"] = 1.7e9 + motion.times, motion.size, 0.9
    packets["points"] = motion.filled().points[:, OURS]
    path.write_bytes(packets.tobytes())


def _pictures(folder: Path, seeds: list[Seed]) -> None:
    image = Image.fromarray(face_picture((50, 30, 60, 70)))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "a.jpg", exif=exif, quality=80)
    image.save(folder / "b.png")
    image.convert("P").save(folder / "c.png", transparency=3)
    image.save(folder / "d.webp", quality=70)
    image.save(folder / "e.tiff", compression="tiff_lzw")
    image.save(folder / "f.bmp")
    image.convert("CMYK").save(folder / "g.jpg")
    cv2.imwrite(str(folder / "h.png"), np.asarray(image)[..., ::-1].astype(np.uint16) * 257)
    commands = ("check FILE", "check FILE --picture o.png", "animate FILE motion:blink --warp-only --end 0.1 -o o.mp4")
    names = ("a.jpg", "b.png", "c.png", "d.webp", "e.tiff", "f.bmp", "g.jpg", "h.png")
    seeds += [Seed("pictures", name, commands) for name in names]


def _videos(folder: Path, seeds: list[Seed]) -> Path:
    """Returns the first."""
    driver = film(folder / "a.mp4", WALK[:6], sound=True)
    plain = film(folder / "b.mov", WALK[:4], pts=[0, 1001, 5005, 6006])
    ffmpeg("-i", driver, "-c:v", "copy", "-c:a", "flac", folder / "c.mkv")
    ffmpeg("-i", driver, "-c:v", "mpeg4", "-an", folder / "d.avi")
    ffmpeg("-i", plain, folder / "e.gif")
    ffmpeg("-i", driver, "-c:v", "libvpx", "-c:a", "libopus", folder / "f.webm")
    ffmpeg("-i", driver, "-c", "copy", "-bsf:v", "h264_mp4toannexb", folder / "g.ts")
    commands = (
        "extract FILE -o o.npz",
        "check FILE",
        "animate PORTRAIT FILE --warp-only --no-dense --end 0.15 -o o.mp4",
        "animate PORTRAIT FILE --warp-only --start 0.02 --end 0.2 -o o.mov",
    )
    names = ("a.mp4", "b.mov", "c.mkv", "d.avi", "e.gif", "f.webm", "g.ts")
    seeds += [Seed("videos", name, commands) for name in names]
    return driver


def _networks(folder: Path, seeds: list[Seed]) -> None:
    net = model(trained=True)
    person = folder / "person.safetensors"
    portrait = Portrait(read_picture(folder / "portrait.png"), points_in(50, 30, 60, 70))
    with torch.inference_mode():
        psi = net.generator.style(torch.zeros(1, net.dims.embedding))
    save_person(Person(net, psi, [portrait]), person, consent="yes")
    feature_net(folder / "maps.safetensors")
    feature_net(folder / "vector.safetensors", embedding=True)
    animated = "animate PORTRAIT motion:blink --end 0.05 --model FILE -o o.mp4"
    seeds.append(Seed("models and persons", "model.safetensors", (animated,)))
    seeds.append(Seed("models and persons", "person.safetensors", ("animate FILE motion:blink --end 0.05 -o o.mp4",)))
    trained = "train --config meta --clips nowhere --perceptual FILE --dry-run"
    fitted = "finetune PORTRAIT --model SEEDS/model.safetensors --steps 1 --identity FILE -o o.safetensors"
    seeds.append(Seed("feature networks", "maps.safetensors", (trained,)))
    seeds.append(Seed("feature networks", "vector.safetensors", (fitted,)))


def _training(folder: Path, seeds: list[Seed]) -> None:
    clips = write_clips(folder / "clips", people=2, frames=6)
    raw = {
        "model": MODEL, "data": {"clips": str(clips), "frame_step": 1}, "batch": 2, "steps": 2, "save_every": 1,
        "log_every": 1, "loss": {"mouth": 3.0}, "optimiser": {"rate": 1e-3, "betas": [0.5, 0.9]},
        "adversarial": {"dims": {"size": 32, "embedding": 8, "channels": [8, 8]}, "start": 9},
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(raw))
    (folder / "flow.yaml").write_text(json.dumps(raw))
    for name in ("meta", "tiny", "paper"):
        shutil.copy(CONFIGS / f"{name}.yaml", folder / f"shipped_{name}.yaml")
    names = ("config", "flow", "shipped_meta", "shipped_tiny", "shipped_paper")
    seeds += [Seed("configs", f"{name}.yaml", ("train --config FILE --dry-run",)) for name in names]

    train(TrainConfig.model_validate(raw), folder / "run", device=torch.device("cpu"))
    shutil.rmtree(folder / "run" / "resident", ignore_errors=True)
    (folder / "longer.yaml").write_text(yaml.safe_dump({**raw, "steps": 3}))
    names = ("metrics.jsonl", "config.json", "clips.json", "checkpoints/step_0000002.pt", "checkpoints/step_0000001.pt")
    again = ("train --config SEEDS/longer.yaml --run DIR",)
    seeds += [Seed("run folders", f"run/{name}", again, whole=True) for name in names]

    videos = folder / "videos"
    for person in ("ann", "bob"):
        (videos / person).mkdir(parents=True)
        film(videos / person / "walk.mp4", WALK)
    options = ClipOptions(size=96, min_seconds=0.2, min_face=30)
    prepare(videos, folder / "shards", options=options, landmarks="builtin")
    (folder / "sharded.yaml").write_text(yaml.safe_dump({**raw, "data": {"clips": "shards", "frame_step": 1}}))
    learnt = ("train --config SEEDS/sharded.yaml --clips DIR --run run --steps 1",)
    made = ("prepare SEEDS/videos DIR --workers 1 --size 96 --min-seconds 0.2 --min-face 30",)
    for path in sorted((folder / "shards").iterdir()):
        if path.suffix in (".tar", ".json", ".jsonl"):
            seeds.append(Seed("shards", f"shards/{path.name}", learnt + made * (path.suffix != ".tar"), whole=True))
    seeds.append(
        Seed("clips", "clips/person0_0.npz", ("train --config SEEDS/config.yaml --clips DIR --run run",), True)
    )


def _marks(folder: Path, seeds: list[Seed], driver: Path) -> None:
    made = {"landmarks": PaintedFaces(), "warp_only": True, "consent": "yes"}
    animate(folder / "portrait.png", driver, folder / "signed.mp4", **made)
    animate(folder / "portrait.png", folder / "b.png", folder / "signed.png", **made)
    animate(folder / "portrait.png", folder / "b.png", folder / "signed.jpg", **made)
    seeds += [
        Seed("signed files", f"signed.{kind}", ("verify FILE", "verify FILE --json")) for kind in ("mp4", "png", "jpg")
    ]
    credentials = make_credentials()
    (folder / "chain.pem").write_bytes(credentials.chain)
    (folder / "key.pem").write_bytes(credentials.key)
    line = "animate PORTRAIT motion:blink --warp-only --end 0.05 -o o.mp4 --sign-cert"
    seeds.append(
        Seed(
            "keys and ledgers",
            "chain.pem",
            (f"{line} FILE --sign-key SEEDS/key.pem", "verify SEEDS/signed.png --trust FILE"),
        )
    )
    seeds.append(Seed("keys and ledgers", "key.pem", (f"{line} SEEDS/chain.pem --sign-key FILE",)))
    home = folder / "home"
    home.mkdir()
    (home / "signing-key.pem").write_bytes(credentials.key + credentials.chain)
    rows = [
        {"id": f"{n:016x}", "time": "2026-01-01T00:00:00+00:00", "file": f"/x/{n}.mp4", "sha256": "0" * 64}
        for n in range(5)
    ]
    (home / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = "animate PORTRAIT motion:blink --warp-only --end 0.05 -o o.mp4"
    seeds.append(Seed("keys and ledgers", "home/signing-key.pem", (own,), whole=True))
    seeds.append(Seed("keys and ledgers", "home/history.jsonl", ("history", "history --json", own), whole=True))
