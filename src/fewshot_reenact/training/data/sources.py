"""Which videos `reenact prepare` is to read, and who is in each."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fewshot_reenact.errors import InputError, UsageError
from fewshot_reenact.media.file_types import VIDEO_SUFFIXES
from fewshot_reenact.training.data.storage import is_url, open_filesystem


@dataclass(frozen=True)
class ListedVideo:
    """One video. name: what it is called in the index, unique. path: a file's path or an fsspec address. person: who is
    in it. size: bytes, 0 where that is not known.
    """

    name: str
    path: str
    person: str
    size: int


def list_sources(videos: str | Path) -> list[ListedVideo]:
    """The videos of a folder (whole tree), an address of one, a list file, or one video; in the order of their names.

    A list file names a video a line, with the person after a tab if wanted; relative names start from its folder.
    Raises InputError: nothing there, no video in it; UsageError: a name twice in a list.
    """
    if is_url(videos) and not str(videos).startswith("file://"):
        found = list(_remote(str(videos).rstrip("/")))
    else:
        path = Path(str(videos).removeprefix("file://"))
        if path.is_dir():
            found = list(_tree(path))
        elif not path.exists():
            raise InputError(f"{path}: no such file or folder; check the name")
        elif not path.is_file():
            raise InputError(f"{path}: is not an ordinary file; give a folder of videos, or a list of them")
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            found = [_local(path.name, path)]
        else:
            found = list(_listed(path))
    if not found:
        raise InputError(f"{videos}: there is no video in it ({', '.join(sorted(VIDEO_SUFFIXES)[:6])}, ...)")
    return sorted(found, key=lambda source: source.name)


def person_of(name: str) -> str:
    """Who is in a video, by its place: id/video/clip.mp4 (VoxCeleb, whatever stands above it) and id/clip.mp4 -> id;
    a file in no folder is a person of its own.
    """
    parts = PurePosixPath(name).parts
    return parts[-3] if len(parts) > 2 else parts[0] if len(parts) == 2 else PurePosixPath(name).stem


def spread(sources: list[ListedVideo], most: int | None = None, most_bytes: int = 1 << 30) -> list[list[ListedVideo]]:
    """Into shards: a random sample of the videos each, that the list alone decides.

    most: videos a shard; by default up to 64, fewer for small sets, so that there are some 32 shards to share among
    workers. most_bytes: of videos, so that a shard of long ones does not grow without bound.
    """
    most = most or max(1, min(64, len(sources) // 32))
    shards: list[list[ListedVideo]] = []
    size = 0
    # By a hash: neighbours in a listing are of one person, and a shard of one person is a poor sample to train on.
    for source in sorted(sources, key=lambda one: hashlib.sha256(one.name.encode()).digest()):
        if not shards or len(shards[-1]) >= most or size + source.size > most_bytes:
            shards.append([])
            size = 0
        shards[-1].append(source)
        size += source.size
    return shards


def fingerprint(sources: list[ListedVideo]) -> str:
    """SHA-256 of names, people and sizes: whether two lists are of the same videos."""
    lines = "".join(f"{s.name}\t{s.person}\t{s.size}\n" for s in sources)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def _local(name: str, path: Path, person: str | None = None) -> ListedVideo:
    size = path.stat().st_size if path.is_file() else 0
    return ListedVideo(name, str(path), person or person_of(name), size)


def _tree(root: Path) -> Iterator[ListedVideo]:
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # links in a circle, or two to one folder
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = Path(folder) / name
            if not name.startswith(".") and path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
                yield _local(path.relative_to(root).as_posix(), path)


def _remote(url: str) -> Iterator[ListedVideo]:
    fs, root = open_filesystem(url)
    try:
        found = fs.find(root, detail=True)
    except Exception as error:  # each kind of store has errors of its own
        raise InputError(f"{url}: cannot be listed ({str(error) or type(error).__name__})") from error
    for path, entry in found.items():
        name = path.removeprefix(root).lstrip("/") or path.rsplit("/", 1)[-1]
        if PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES and not PurePosixPath(name).name.startswith("."):
            yield ListedVideo(name, fs.unstrip_protocol(path), person_of(name), entry.get("size") or 0)


def _listed(path: Path) -> Iterator[ListedVideo]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is neither a video nor a list of videos (a name a line, UTF-8)") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        name, _, person = (part.strip() for part in line.partition("\t"))
        if not name or name.startswith("#"):
            continue
        if name in seen:
            raise UsageError(f"{path}: line {number}: {name} is named in line {seen[name]} already")
        seen[name] = number
        if is_url(name):
            yield ListedVideo(name, name, person or person_of(name.split("://", 1)[1]), 0)
        else:
            yield _local(name, path.parent / name, person)
