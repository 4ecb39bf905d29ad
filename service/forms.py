"""The fields of ``POST /jobs`` and the parameters of a sample set, checked before any work."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import Query, UploadFile
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from jobs.record import JobRequest, MaskSupervision, SampleSetRequest, rejected_count
from service.problems import FieldError, ProblemError
from service.webhook_target import MAX_URL_LENGTH

MAX_METADATA_BYTES = 4_096
MAX_JSON_DEPTH = 32
MAX_CLASS_NAME_LENGTH = 64
MAX_SET_SIZE = 10_000


def _class_names(value: Any) -> Any:
    """One JSON text (an array of names, or an object from index to name), or repeated fields."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        return value
    parsed = _json(value)
    if isinstance(parsed, dict):
        indices = [str(index) for index in range(len(parsed))]
        if set(parsed) != set(indices):
            raise ValueError("as an object, classes needs the keys 0, 1, 2, … without a gap")
        return [parsed[index] for index in indices]
    return parsed


def _metadata(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if len(value.encode()) > MAX_METADATA_BYTES:
        raise ValueError(f"metadata is larger than {MAX_METADATA_BYTES} bytes")
    # The field's own type refuses what is not an object.
    return _json(value)


def _json(text: str) -> Any:
    """What others can read again: no NaN, no half of a character, no depths."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ValueError("not valid JSON") from error
    if _is_deeper(value, MAX_JSON_DEPTH):
        raise ValueError(f"nested deeper than {MAX_JSON_DEPTH} levels")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether arrays and objects lie in each other more than ``levels`` deep."""
    if not isinstance(value, dict | list):
        return False
    parts = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(part, levels - 1) for part in parts)


ClassName = Annotated[
    str, Field(min_length=1, max_length=MAX_CLASS_NAME_LENGTH, pattern=r"^[^\x00-\x1f\x7f]+$")
]


class JobForm(BaseModel):
    """The form of ``POST /jobs``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: UploadFile | None = Field(
        default=None,
        description="**Required.** The photograph: PNG, JPEG, WebP or TIFF.",
        json_schema_extra={"type": "string", "format": "binary"},
    )
    mask: UploadFile | None = Field(
        default=None,
        description="Its segmentation mask: PNG, TIFF or lossless WebP. **Required**, except with "
        "`mask_supervision=none`.",
        json_schema_extra={"type": "string", "format": "binary"},
    )
    classes: Annotated[list[ClassName] | None, BeforeValidator(_class_names)] = Field(
        default=None,
        min_length=2,
        max_length=32,
        description="Names by index, the background first: one JSON array, or repeated fields.",
        examples=['["background", "coin"]'],
    )
    mask_encoding: Literal["auto", "index", "binary", "rgb"] = "auto"
    ignore_index: int | None = Field(
        default=None, ge=0, le=255, description="Mask value of unlabelled pixels."
    )
    method: Literal["projected", "osmis"] | None = Field(
        default=None,
        description="projected: on frozen features; osmis: as published. Else the preset's.",
    )
    mask_supervision: MaskSupervision = Field(
        default="mca",
        description="What the discriminator does with masks. mca: masked content attention. "
        "none: no mask is sent, and images are made, not pairs. projection, input_concat and "
        "mask_discriminator: the alternatives that the paper compares, with method=osmis.",
    )
    low_level_blocks: int | None = Field(
        default=None,
        ge=1,
        le=5,
        description="Discriminator blocks before layout and content part, with method=osmis: more "
        "give better images, coarser masks and less diversity. Else by the training size.",
    )
    preset: Literal["draft", "standard", "paper"] = "standard"
    max_size: int | None = Field(
        default=None, ge=32, le=1_024, description="Longest side of the training frame, pixels."
    )
    output_size: str = Field(
        default="native",
        pattern=r"^(native|train|[1-9]\d{0,4}x[1-9]\d{0,4})$",
        description="native, train, or width x height in pixels.",
        examples=["native", "640x480"],
    )
    iterations: int | None = Field(
        default=None, ge=1, le=10_000_000, description="Training steps, instead of a time budget."
    )
    max_runtime_seconds: int | None = Field(
        default=None, ge=1, le=30 * 86_400, description="The training budget in seconds."
    )
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    n: int = Field(
        default=100,
        ge=0,
        le=MAX_SET_SIZE,
        description="Samples of the set that is made as the job's last phase; 0: none is made, "
        "`GET /jobs/{id}/samples` has them made later.",
    )
    allow_slow: bool = Field(
        default=False, description="Run the paper preset without a GPU although it takes days."
    )
    metadata: Annotated[dict[str, Any], BeforeValidator(_metadata)] = Field(
        default_factory=dict,
        description="Your own JSON object, up to 4 KiB.",
        examples=['{"project": "coins"}'],
    )
    webhook_url: str | None = Field(
        default=None,
        max_length=MAX_URL_LENGTH,
        description="An https URL that is told when the job has ended, where the service does so: "
        "POST of {type, job}, signed in `OnePair-Signature` (t, and v1: HMAC-SHA-256 of "
        "`<t>.<body>`), again for an hour until it answers 2xx.",
        examples=["https://example.org/hooks/onepair"],
    )
    dry_run: bool = Field(
        default=False, description="Only say how the pair is read and what would be done."
    )

    def to_request(self) -> JobRequest:
        """The fields as the job's record keeps them."""
        first_set = SampleSetRequest(n=self.n) if self.n else None
        fields = self.model_dump(exclude={"image", "mask", "dry_run", "n"})
        return JobRequest(**fields, first_set=first_set)

    def mask_fields(self) -> list[str]:
        """Names of the fields that describe a mask and are set."""
        described = {
            "classes": self.classes is not None,
            "mask_encoding": self.mask_encoding != "auto",
            "ignore_index": self.ignore_index is not None,
        }
        return [name for name, is_set in described.items() if is_set]

    def training_options(self) -> dict[str, Any]:
        """Keyword arguments of the core's ``TrainingOptions``."""
        return self.model_dump(
            include={
                "method",
                "mask_supervision",
                "low_level_blocks",
                "preset",
                "max_size",
                "output_size",
                "iterations",
                "max_runtime_seconds",
                "seed",
                "allow_slow",
            }
        )


class SetQuery(BaseModel):
    """The parameters that name a sample set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: int | None = Field(
        default=None, ge=1, le=MAX_SET_SIZE, description="How many are generated; 100 if not given."
    )
    keep: int | None = Field(
        default=None,
        ge=1,
        le=MAX_SET_SIZE,
        description="Instead of `n`: how many shall be left after the rejection.",
    )
    reject_fraction: float = Field(
        default=0.15, ge=0, lt=1, allow_inf_nan=False, description="Share of the worst to reject."
    )
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    refine: bool = Field(default=True, description="Refine to the output size.")
    screen: bool = Field(
        default=True,
        description="Of several candidates take one with objects shaped as the source's, "
        "and unlike those before.",
    )
    items_limit: int = Field(default=100, ge=0, le=1_000, description="Items on this page.")
    items_after: int = Field(
        default=-1, ge=-1, description="Items beyond this index; `items_next` of the last page."
    )

    def to_request(self) -> SampleSetRequest:
        """The set that is asked for, ``keep`` turned into ``n``.

        Raises:
            ProblemError: ``invalid_request`` for both or an unreachable ``keep``.
        """
        named: dict[str, Any] = {
            "seed": self.seed,
            "refine": self.refine,
            "screen": self.screen,
        }
        if self.keep is None:
            n = 100 if self.n is None else self.n
            return SampleSetRequest(n=n, reject_fraction=self.reject_fraction, **named)
        if self.n is not None:
            raise _invalid("keep", "exclusive", "Give n or keep, not both")
        # Without this bound a fraction close to 1 would make the search for n endless.
        reachable = MAX_SET_SIZE - rejected_count(MAX_SET_SIZE, self.reject_fraction)
        if self.keep > reachable:
            raise _invalid(
                "keep",
                "less_than_equal",
                f"With this reject_fraction at most {reachable} can be kept: no more than "
                f"{MAX_SET_SIZE} are generated",
            )
        return SampleSetRequest.for_keep(self.keep, reject_fraction=self.reject_fraction, **named)


SetParameters = Annotated[SetQuery, Query()]


def _invalid(field: str, code: str, message: str) -> ProblemError:
    return ProblemError(
        "invalid_request",
        f"1 field is not valid: {field}.",
        errors=[FieldError(field=field, code=code, message=message)],
    )
