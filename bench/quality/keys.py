"""What a result is keyed by, so that only what changed is trained, made and measured again.

Three keys follow from each other: the training's, the set's, the measurement's. Each names the
contents of the files that decide it, not the commit: a commit that touches none of them changes
nothing, and neither does committing what was measured. The commit of ``osmis_core`` is written
beside every result.
"""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.quality.setup import PAIRS, ROOT, TRAINED, WORK, Effort, Method

_CORE = "osmis_core/"
_BENCH = "bench/quality/"
_TRAINER = (
    *(_CORE + part for part in ("data", "models", "augment", "training")),
    *(
        _CORE + part
        for part in (
            *("losses.py", "masks.py", "diversity.py", "layout_overlap.py"),
            *("gradients.py", "precision.py"),
        )
    ),
    _BENCH + "trained.py",
)
_SCORING = tuple(
    f"{_CORE}metrics/{name}.py" for name in ("features", "frechet", "scoring", "shift_tolerant")
)
_REFINEMENT = (_CORE + "refinement", _CORE + "parallel.py")
_SAMPLING = (_CORE + "generation.py", _CORE + "pixels.py", _BENCH + "sampled.py")
_PROTOTYPE = ("../shared/prototype", _BENCH + "prototype.py")

TRAINED_BY: dict[Method, tuple[str, ...]] = {
    "ours": _TRAINER,
    "published": _TRAINER,
    "prototype": _PROTOTYPE,
    "patches": (),
    "copy_paste": (),
    "augmented": (),
}
"""What decides a training: Python files, or folders of them, seen from the repository's root."""
MADE_BY: dict[Method, tuple[str, ...]] = {
    "ours": (
        *(*_SAMPLING, *_REFINEMENT, *_SCORING),
        *(
            _CORE + f"{name}.py"
            for name in ("candidates", "curation", "sample_set", "screening", "silhouettes")
        ),
        _CORE + "metrics/masks.py",
    ),
    "published": _SAMPLING,
    "prototype": _PROTOTYPE,
    "patches": (*_REFINEMENT, _BENCH + "patches.py"),
    "copy_paste": (
        *_REFINEMENT,
        *(_CORE + f"augment/{name}.py" for name in ("components", "cut_out", "inpainting")),
        _BENCH + "copy_paste.py",
    ),
    "augmented": (_BENCH + "augmented.py",),
}
"""What decides a set, the training given."""
MEASURED_BY = (_CORE + "metrics", _CORE + "evaluation", _BENCH + "evaluate.py")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training of one method on one pair, or none where the method doesn't train.

    Attributes:
        pair: name of the pair.
        method: who makes the sets.
        seed: of the training and the sets.
        minutes: when it is looked at, in minutes of training, ascending; it is planned to end at
            the last. Empty where nothing is trained.
        code: hash of the pair and of what trains.
        set_code: hash of what makes a set of it.
        variant: name of what is otherwise than the method's default; empty: nothing.
        options: that, as fields of ``TrainingOptions``.
        device: what it is trained on, ``cpu`` or ``cuda``.
    """

    pair: str
    method: Method
    seed: int
    minutes: tuple[float, ...]
    code: str
    set_code: str
    variant: str = ""
    options: tuple[tuple[str, Any], ...] = ()
    device: str = "cpu"

    @property
    def label(self) -> str:
        """Method, variant, and the device if it isn't the usual one."""
        device = "" if self.device == "cpu" else self.device
        return "-".join(filter(None, (self.method, self.variant, device)))

    @property
    def planned(self) -> float:
        """Minutes that the training was planned for; 0 where nothing is trained."""
        return max(self.minutes, default=0.0)

    @property
    def folder(self) -> Path:
        """Where checkpoints and sets lie."""
        minutes = "".join(f"-m{m:g}" for m in self.minutes)
        return WORK / f"{self.pair}-{self.label}-s{self.seed}{minutes}-{self.code}"

    @property
    def snapshots(self) -> list[Snapshot]:
        """What is measured of it."""
        return [Snapshot(run=self, minutes=minutes) for minutes in self.minutes or (0.0,)]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A run as it stands after some minutes of training.

    Attributes:
        run: the training.
        minutes: of it; 0 where nothing is trained.
    """

    run: Run
    minutes: float

    @property
    def name(self) -> str:
        """Names it whatever the code."""
        run = self.run
        trained = f"_m{self.minutes:g}of{run.planned:g}" if run.minutes else ""
        return f"{run.pair}_{run.label}{trained}_s{run.seed}"

    @property
    def is_last(self) -> bool:
        """Whether the training has ended then, as a job's has."""
        return self.minutes == self.run.planned

    @property
    def checkpoint(self) -> Path:
        """The training's state then."""
        return self.run.folder / f"t{self.minutes:g}.safetensors"

    @property
    def folder(self) -> Path:
        """Where its set lies: ``set.zip`` or ``set/``, and ``made.json``."""
        return self.run.folder / f"t{self.minutes:g}-{self.run.set_code}"

    def result_path(self, effort: Effort, *, root: Path = ROOT) -> Path:
        """Where its measurements are kept."""
        codes = "-".join((self.run.code, self.run.set_code, measure_hash(root)))
        return effort.folder / "results" / f"{self.name}-{effort.name}-{codes}.json"


def make_run(
    pair: str,
    method: Method,
    seed: int,
    minutes: tuple[float, ...],
    *,
    variant: str = "",
    options: tuple[tuple[str, Any], ...] = (),
    device: str = "cpu",
    root: Path = ROOT,
) -> Run:
    """A run keyed by its pair and the code that makes it; its options are told by its variant."""
    return Run(
        pair=pair,
        method=method,
        seed=seed,
        minutes=tuple(sorted(set(minutes))) if method in TRAINED else (),
        code=hash_of(root, TRAINED_BY[method], PAIRS[pair]),
        set_code=hash_of(root, MADE_BY[method]),
        variant=variant,
        options=options,
        device=device,
    )


def measure_hash(root: Path = ROOT) -> str:
    """Hash of the files that decide the measurements."""
    return hash_of(root, MEASURED_BY)


def hash_of(root: Path, parts: tuple[str, ...], others: tuple[Path, ...] = ()) -> str:
    """First 8 digits of the SHA-256 of names and contents.

    Args:
        root: of the repository.
        parts: Python files and folders of them, relative to it.
        others: more files, by content alone.
    """
    digest = hashlib.sha256()
    for part in parts:
        place = root / part
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(f"{part}/{path.relative_to(place)}".encode())
            digest.update(path.read_bytes())
    for path in others:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def core_commit(root: Path = ROOT) -> str | None:
    """The newest commit of ``osmis_core``, with a + where it is changed; None outside of git."""
    commands = (["log", "-1", "--format=%h"], ["status", "--porcelain"])
    answers = []
    for command in commands:
        asked = ["git", "-C", str(root), *command, "--", "osmis_core"]
        try:
            answers.append(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
        except (OSError, subprocess.CalledProcessError):
            return None
    return answers[0].strip() + ("+" if answers[1].strip() else "")
