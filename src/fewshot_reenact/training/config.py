"""The training configuration: one YAML file, checked; its fields are documented here and nowhere else."""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from fewshot_reenact.errors import UsageError
from fewshot_reenact.models.dimensions import ModelDimensions
from fewshot_reenact.models.discriminator import DiscriminatorDimensions
from fewshot_reenact.models.losses import LossWeights
from fewshot_reenact.models.teachers import TEACHER
from fewshot_reenact.training.config_files import read_yaml
from fewshot_reenact.training.presets import discriminator_dimensions, loss_weights, model_dimensions


def _built_in(network: Any) -> Any:
    """The small network that comes with the package (models.teachers), by the name "builtin"."""
    return str(TEACHER) if network == "builtin" else network


class Strict(BaseModel):
    """Unknown keys are errors, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(Strict):
    """What is learnt from."""

    clips: str | Path = Field(
        description="what `reenact prepare` made (a folder or an address such as s3://bucket/shards), or a folder of "
        "NAME.mp4 with NAME.npz (points, identity): see training.data.clips"
    )
    stream: bool = Field(False, description="shards only: read as needed, not into memory; for data of any size")
    shuffle_shards: int | None = Field(
        None,
        ge=1,
        description="streamed: so many shards are in use at a time, their clips shuffled together, each clip once an "
        "epoch (training.data.order), so that a store is asked for whole shards one after the other; null: any clip at "
        "any time, every person as likely as any other",
    )
    cache: Path | None = Field(
        None,
        description="streamed: folder on a disk of this machine for whole shards, fetched ahead by several threads and "
        "shared by all processes (training.data.cache); null: none, every clip is a request of its own",
    )
    cache_gb: float = Field(
        100.0,
        gt=0,
        description="of shards in the cache, at most, besides those being fetched. With shuffle_shards three times as "
        "many shards are enough; without, what does not fit is read clip by clip",
    )
    damaged: float = Field(
        0.01,
        ge=0,
        le=1,
        description="share of streamed clips that may be damaged: the next episode is taken instead, each is told once "
        "and listed in damaged.jsonl; more end the run, until this is raised; 0: the first one does",
    )
    resident: Literal["auto"] | bool = Field(
        "auto",
        description="all clips on the device, episodes made there by the batch (training.resident); auto: where their "
        "frames fit into half of the memory that is free; false: made one by one in the host's memory",
    )
    limit: int | None = Field(None, ge=1, description="clips at most, the first by name: for a look at how it goes")
    frame_step: int = Field(2, ge=1, description="every frame_step-th frame of a clip is used: neighbours are alike")
    portraits: int = Field(1, ge=1, description="K, portraits an episode")
    least_frames: int = Field(
        2,
        ge=2,
        description="clips with fewer frames, once every frame_step-th is taken, are left out; the paper: K + 1",
    )
    mirrored: float = Field(0.5, ge=0, le=1, description="share of the episodes that are mirrored; the paper: none")
    candidates: int = Field(4, ge=1, description="drawn for the target frame; the one that differs most is likeliest")
    rare: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the episodes whose target has, of some frames of its clip, the eyes most shut or the "
        "mouth most open: such frames are few, and a warp fails there",
    )
    turned: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the other episodes whose target is turned away from the portrait, by any share of the "
        "most among some frames of its clip as likely: large turns are rare, and a portrait hides what they show",
    )
    dense: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the episodes whose warp is corrected by the driver's dense motion, as `animate` does "
        "with a video; the others go by points alone, as with a motion file",
    )
    point_noise: float = Field(0.006, ge=0, description="jitter of the points, in eye distances: extractors err")
    colour: float = Field(
        0.15, ge=0, description="strength of gain and colour jitter, the same for portrait and target"
    )


class LossConfig(Strict):
    """Weights left out are the preset's (models.losses.PRESETS)."""

    preset: Literal["textured", "paper-v1", "paper-v2"] = "textured"
    l1: float | None = None
    mouth: float | None = Field(None, description="extra weight of L1 about the mouth")
    eyes: float | None = Field(None, description="extra weight of L1 about each eye")
    perceptual: float | None = None
    perceptual_mouth: float | None = None
    shift: float = Field(
        0.05, ge=0, description="L1 of the correction of the flow, per pixel, to what optical flow sees"
    )
    network: Annotated[Path | None, BeforeValidator(_built_in)] = Field(
        None, description="safetensors feature network (models.perceptual), or builtin; null: L1 alone"
    )
    skip_heads: int = Field(1, ge=0, description="taps left out at the shallow end: dear, and L1 sees the same")
    vgg19: float | None = Field(None, description="weight of the paper's content term on VGG19")
    vgg19_network: Annotated[str | None, BeforeValidator(_built_in)] = Field(
        "torchvision", description="see models.backbones.load_backbone; or builtin"
    )
    vgg19_inputs: Literal["caffe", "caffe-rgb", "imagenet"] = "caffe"
    vggface: float | None = Field(None, description="the same on VGGFace")
    vggface_network: Annotated[str | None, BeforeValidator(_built_in)] = None
    vggface_inputs: Literal["caffe", "caffe-rgb", "imagenet"] = "caffe"
    vggface_square: float | None = Field(
        None,
        ge=0,
        description="VGGFace sees a square about the face, of so many heights from the nose's root to the chin (the "
        "co-author's code: 1.67); 0: the whole picture",
    )


class AdversarialConfig(Strict):
    """The discriminator. Weights left out are the loss preset's."""

    dims: Literal["light", "paper"] | dict[str, Any] = Field("light", description="DiscriminatorDimensions by name")
    region: Literal["face", "mouth"] = Field(
        "face", description="what it judges; mouth: that part of the face frame, enlarged, where blur shows most"
    )
    weight: float | None = None
    feature_matching: float | None = None
    match: float | None = Field(None, description="weight of |e - W_i|; needs rows")
    rows: bool = Field(False, description="W: a row for each training video; for fine-tuning with w0 + e")
    start: int = Field(0, ge=0, description="the step from which D learns and counts")
    updates: int = Field(1, ge=1, description="of D for each one of G; the paper: 2")
    rate: float = Field(2e-4, gt=0)
    betas: tuple[float, float] = (0.0, 0.999)
    eps: float = Field(1e-8, gt=0)
    held_out: Path | None = Field(
        None, description="clips of other people, on whom D is judged before it counts; null: it counts at once"
    )
    judges: float = Field(
        0.75, gt=0.5, lt=1, description="share of held-out faces that D must tell from made ones to count for E and G"
    )
    judge_every: int = Field(100, ge=1, description="steps from one judgement of D to the next")

    def dimensions(self) -> DiscriminatorDimensions:
        """The networks' dimensions."""
        return discriminator_dimensions(self.dims)


class OptimiserConfig(Strict):
    """Adam, its rate over the steps, and the averaging of weights."""

    rate: float = Field(5e-4, gt=0)
    betas: tuple[float, float] = (0.5, 0.99)
    warmup: int = Field(100, ge=0, description="steps of linear rise")
    final: float = Field(0.02, ge=0, le=1, description="share of the rate left at the last step; falls linearly")
    eps: float = Field(1e-8, gt=0)
    clip: float | None = Field(1.0, gt=0, description="largest norm of the gradient; null: any")
    ema: float = Field(0.998, ge=0, lt=1, description="decay of the averaged weights that are shipped")


class TrainConfig(Strict):
    """Meta-learning; configs/meta.yaml is one."""

    trainer: Literal["meta"] = "meta"
    model: Literal["textured", "paper"] | dict[str, Any] = Field(
        "textured", description="a preset, or ModelDimensions by name"
    )
    data: DataConfig
    loss: LossConfig = LossConfig()  # type: ignore[call-arg]
    adversarial: AdversarialConfig | None = Field(None, description="null: no discriminator")
    optimiser: OptimiserConfig = OptimiserConfig()  # type: ignore[call-arg]
    init: Path | None = Field(None, description="weights to begin with (safetensors), of the same dimensions")
    seed: int = 0
    batch: int = Field(8, ge=1, description="episodes a step, of all processes together")
    steps: int = Field(ge=1)
    workers: int = Field(0, ge=0, description="processes that make episodes; 0: the training process itself")
    save_every: int = Field(200, ge=1)
    log_every: int = Field(20, ge=1)
    picture_every: int = Field(500, ge=1)
    keep: int = Field(3, ge=1, description="checkpoints kept")
    tensorboard: bool = Field(False, description="also write TensorBoard events; needs the extra 'train'")
    amp: bool = Field(False, description="networks and losses in bfloat16")
    channels_last: bool = Field(True, description="memory order of pictures; faster almost everywhere")
    compile: bool | Literal["graphs"] = Field(
        False,
        description="torch.compile the networks, those of the losses too; needs a C++ compiler. graphs: with CUDA "
        "graphs on a GPU, and not at all elsewhere",
    )

    def dimensions(self) -> ModelDimensions:
        """The networks' dimensions."""
        return model_dimensions(self.model)

    def weights(self) -> LossWeights:
        """The preset with what the config says otherwise."""
        return loss_weights(self.loss, self.adversarial)


class StageConfig(Strict):
    """What the smaller trainers have in common: landmarks, refiner, face teacher. training.stage is their loop."""

    seed: int = 0
    batch: int = Field(ge=1)
    steps: int = Field(ge=1)
    minutes: float | None = Field(
        None, gt=0, description="of training in all calls, at most; the rate falls over these or over the steps"
    )
    rate: float = Field(gt=0)
    ema: float = Field(0.998, ge=0, lt=1, description="decay of the averaged weights that are shipped")
    log_every: int = Field(50, ge=1)
    save_every: int = Field(400, ge=1)
    keep: int = Field(2, ge=1, description="checkpoints kept")
    tensorboard: bool = Field(False, description="also write TensorBoard events; needs the extra 'train'")


Config = TypeVar("Config", bound=BaseModel)


def load_config(path: Path, **overrides: Any) -> TrainConfig:
    """Read and check the configuration of meta-learning. Raises UsageError naming the file, the key and what was
    expected.
    """
    return check_config(path, read_yaml(path), TrainConfig, check_together, **overrides)


def check_config(
    path: Path,
    raw: dict[str, Any],
    kind: type[Config],
    together: Callable[[Config], None] = lambda config: None,
    **overrides: Any,
) -> Config:
    """The mapping as a configuration of that kind. together: raises ValueError for what no field can know by itself.
    overrides: in place of what the file says, where not None. Raises UsageError naming the file and the key.
    """
    try:
        config = kind.model_validate({**raw, **{k: v for k, v in overrides.items() if v is not None}})
        together(config)
    except ValidationError as error:
        raise UsageError(f"{path}: {_explain(error, kind)}") from error
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    return config


def check_together(config: TrainConfig) -> None:
    """What no field can know by itself. Raises ValueError naming the key."""
    try:
        dims = config.dimensions()
    except (ValueError, TypeError) as error:
        raise ValueError(f"model: {error}") from error
    for name in ("shuffle_shards", "cache"):
        if getattr(config.data, name) is not None and not config.data.stream:
            raise ValueError(f"data.{name}: is for clips that are streamed; say data.stream: true, or leave it out")
    if config.data.dense and dims.kind == "paper":
        raise ValueError("data.dense: corrects a warp, and the paper's model has none; leave it out")
    if dims.refiners:
        raise ValueError("model.refiners: trained after the rest, with trainer: refiner; leave them out here")
    weights, adversarial = config.weights(), config.adversarial
    if weights.vggface and config.loss.vggface_network is None:
        raise ValueError(
            f"loss.vggface_network: {config.loss.preset} weighs VGGFace: give its file (a state dict, or a "
            "self-describing safetensors), or say loss.vggface: 0"
        )
    if adversarial is None:
        if config.loss.preset != "textured":
            raise ValueError(
                f"adversarial: {config.loss.preset} needs a discriminator; say adversarial: {{dims: paper}}"
            )
        return
    try:
        theirs = adversarial.dimensions()
    except (ValueError, TypeError) as error:
        raise ValueError(f"adversarial.dims: {error}") from error
    if theirs.size != dims.size:
        raise ValueError(f"adversarial.dims: size {theirs.size} must be the model's, {dims.size}")
    if adversarial.region == "mouth" and dims.kind == "paper":
        raise ValueError("adversarial.region: mouth is a place in the textured model's face frame; say face")
    if adversarial.rows and theirs.embedding != dims.embedding:
        raise ValueError(f"adversarial.dims: embedding {theirs.embedding} must be the model's, {dims.embedding}")
    if weights.match and not adversarial.rows:
        raise ValueError("adversarial.match: compares embeddings with rows; say adversarial.rows: true, or match: 0")


def _explain(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first problem on one line; an unknown key gets the nearest known one."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{where}: {first['msg']}"
    owner: Any = kind
    for part in first["loc"][:-1]:
        kinds = owner.model_fields[str(part)].annotation
        owner = next((kind for kind in get_args(kinds) if hasattr(kind, "model_fields")), kinds)
    near = difflib.get_close_matches(str(first["loc"][-1]), owner.model_fields, n=1, cutoff=0.3)
    return f"unknown key {where}" + (f": did you mean {near[0]}?" if near else "")
