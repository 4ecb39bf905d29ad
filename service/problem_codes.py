"""The central registry of refusals: every ``code`` the gateway can answer with.

A code is part of the public interface: programs branch on it, so it never changes its meaning.
The registry feeds three places, so they can't drift apart: the responses, the OpenAPI document,
and the test that asks for a test of every code.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ProblemKind:
    """One kind of refusal.

    Attributes:
        status: HTTP status.
        title: the same for every occurrence, as RFC 9457 asks.
        hint: what the caller can do about it; used when the occurrence has none of its own.
        example: a ``detail`` for the documentation.
        retry_after_seconds: sent as ``Retry-After`` when waiting is the remedy.
    """

    status: int
    title: str
    hint: str
    example: str
    retry_after_seconds: int | None = None


_REQUEST = {
    "malformed": ProblemKind(
        status=400,
        title="The request can't be read",
        hint="Send multipart/form-data with the files `image` and `mask` and their fields.",
        example="Invalid multipart data.",
    ),
    "unknown_job": ProblemKind(
        status=404,
        title="There is no such job",
        hint="List your jobs with GET /jobs; finished jobs are kept until their `expires_at`.",
        example="There is no job 0b5e2f7c9d1a4e6f8a3b2c1d0e9f8a7b.",
    ),
    "unknown_set": ProblemKind(
        status=404,
        title="There is no such sample set",
        hint="Start one with POST /jobs/{id}/samples; its answer names the set's id.",
        example="This job has no sample set 3f5a….",
    ),
    "no_preview": ProblemKind(
        status=404,
        title="There is no picture yet",
        hint="The first contact sheet appears with the first checkpoint, about 30 s into training.",
        example="The job has not published a contact sheet yet.",
    ),
    "not_found": ProblemKind(
        status=404,
        title="There is nothing at this address",
        hint="GET /docs lists every address.",
        example="Not Found",
    ),
    "method_not_allowed": ProblemKind(
        status=405,
        title="This address does not take this method",
        hint="The `Allow` header and GET /docs list the methods.",
        example="Method Not Allowed",
    ),
    "gone": ProblemKind(
        status=410,
        title="The job was deleted",
        hint="Submit the pair again; where you send an Idempotency-Key, with a new one.",
        example="The job was deleted.",
    ),
    "too_large": ProblemKind(
        status=413,
        title="The upload is too large",
        hint="Save the image as JPEG or scale it down: outputs are far smaller anyway.",
        example="The request is larger than 100 MB.",
    ),
    "too_many_pixels": ProblemKind(
        status=413,
        title="The image has too many pixels",
        hint="Scale image and mask down together (nearest neighbour for the mask).",
        example="The image has 400 megapixels; the limit is 50.",
    ),
    "unsupported_image": ProblemKind(
        status=415,
        title="This is not an image we read",
        hint="Images: PNG, JPEG, WebP, TIFF. Masks: PNG, TIFF, lossless WebP.",
        example="The file `image` is none of PNG, JPEG, WebP, TIFF.",
    ),
    "name_mismatch": ProblemKind(
        status=415,
        title="A file's content and name disagree",
        hint="Rename the file to match its content, or export it again in the format you meant.",
        example="`mask` is called .png, but its content is JPEG.",
    ),
    "range_not_satisfiable": ProblemKind(
        status=416,
        title="The range lies outside the file",
        hint="The `Content-Range` header of this answer says how long the file is.",
        example="The file has 1024 bytes.",
    ),
    "invalid_request": ProblemKind(
        status=422,
        title="Some of the input is not valid",
        hint="`errors` names each field and what is wrong with it.",
        example="1 field is not valid: n.",
    ),
    "internal_error": ProblemKind(
        status=500,
        title="Something went wrong on our side",
        hint="Try again; if it stays, report it with the time and the address of the request.",
        example="The request could not be completed.",
    ),
}

_PAIR = {
    "image_missing": ProblemKind(
        status=422,
        title="The image is missing",
        hint="Send the picture as the file `image` of the form.",
        example="The form has no file `image`.",
    ),
    "mask_missing": ProblemKind(
        status=422,
        title="The mask is missing",
        hint="Send the segmentation mask as the file `mask`. A job without a mask will be asked "
        "for by mask_supervision=none in a later version.",
        example="The form has no file `mask`.",
    ),
    "size_mismatch": ProblemKind(
        status=422,
        title="Image and mask differ in size",
        hint="Export both at the same size; the mask without smoothing (nearest neighbour).",
        example="The image is 640x480, the mask 320x240.",
    ),
    "too_small": ProblemKind(
        status=422,
        title="The image is too small",
        hint="The shorter side needs at least 32 pixels.",
        example="The image is 20x20.",
    ),
    "bad_aspect": ProblemKind(
        status=422,
        title="The image is too long and narrow",
        hint="Crop to at most 4:1.",
        example="The image is 1000x100, 10:1.",
    ),
    "bad_option": ProblemKind(
        status=422,
        title="An option has a value that can't be used",
        hint="GET /docs lists each field's range.",
        example="max_size can't be 16",
    ),
    "bad_output_size": ProblemKind(
        status=422,
        title="The wished output size can't be made",
        hint="Use native, train, or width x height in pixels with the image's aspect.",
        example="output_size 640x100 has another aspect than the image (640x480)",
    ),
    "single_class": ProblemKind(
        status=422,
        title="The mask has one class only",
        hint="Mark at least one object: a mask needs background (0) and one or more classes.",
        example="Every pixel of the mask is 0.",
    ),
    "too_many_classes": ProblemKind(
        status=422,
        title="The mask has too many classes",
        hint="2 to 32 classes, background included. If it is a photograph or an instance map, "
        "export a class mask instead.",
        example="The mask has 300 values; 32 are allowed.",
    ),
    "undeclared_index": ProblemKind(
        status=422,
        title="The mask holds a value that no class declares",
        hint="Name every class in `classes`, or set `ignore_index` to the value to be ignored.",
        example="Value 255 stands beside 0, 1 and 2.",
    ),
    "lossy_mask": ProblemKind(
        status=422,
        title="The mask was blurred by lossy or anti-aliased saving",
        hint="Export it again as PNG, without smoothing (nearest neighbour).",
        example="The mask is JPEG.",
    ),
    "encoding_mismatch": ProblemKind(
        status=422,
        title="The mask is not encoded as declared",
        hint="Correct `mask_encoding`, or leave it at auto.",
        example="mask_encoding=rgb, but the mask has one channel",
    ),
    "not_binary": ProblemKind(
        status=422,
        title="The mask has more than two values",
        hint="Use mask_encoding=index, or declare the third value as `ignore_index`.",
        example="mask_encoding=binary, but the mask has 5 values",
    ),
    "class_count_mismatch": ProblemKind(
        status=422,
        title="`classes` and the mask disagree",
        hint="Give one name for each class of the mask, the background first.",
        example="2 names for 3 colours",
    ),
    "bad_classes": ProblemKind(
        status=422,
        title="The class names can't be used",
        hint="2 to 32 different names, the background first.",
        example="two classes are called 'coin'",
    ),
    "bad_pair": ProblemKind(
        status=422,
        title="Image and mask can't be used",
        hint="Try dry_run=true with another export of the pair.",
        example="the pair can't be used",
    ),
    "broken_image": ProblemKind(
        status=400,
        title="The file is damaged",
        hint="The file is damaged or was cut short: save or upload it again.",
        example="the image can't be decoded: image file is truncated",
    ),
    "animated": ProblemKind(
        status=422,
        title="The file has more than one frame",
        hint="Send one frame or page.",
        example="The file `image` has 12 frames.",
    ),
    "needs_gpu": ProblemKind(
        status=422,
        title="The paper preset needs a GPU",
        hint="Use preset=standard, give `iterations`, or say allow_slow=true.",
        example="preset=paper without a GPU would take about 40 days.",
    ),
    "too_complex": ProblemKind(
        status=422,
        title="Decoding the image takes too much time or memory",
        hint="Open it in an image editor and save it again as plain PNG or JPEG.",
        example="Decoding was stopped at its limit.",
    ),
}

_STATE = {
    "idempotency_conflict": ProblemKind(
        status=409,
        title="This Idempotency-Key belongs to another request",
        hint="Use a new key for a new request; repeat the same body under the same key.",
        example="The key was used with other files or fields.",
    ),
    "not_trained": ProblemKind(
        status=409,
        title="The job has not finished training",
        hint="Wait for `status: succeeded` (GET /jobs/{id}?wait=30), or stop training now with "
        "POST /jobs/{id}/finish.",
        example="The job is training: step 1200 of 4000.",
        retry_after_seconds=15,
    ),
    "no_checkpoint": ProblemKind(
        status=409,
        title="The job ended without having learned anything",
        hint="Submit the pair again.",
        example="The job was cancelled before its first checkpoint.",
    ),
    "nothing_learned": ProblemKind(
        status=409,
        title="There is nothing to finish with yet",
        hint="Wait for the first checkpoint (about 30 s of training), or cancel the job.",
        example="The job has no checkpoint yet.",
    ),
    "cancelling": ProblemKind(
        status=409,
        title="The job is being cancelled",
        hint="Wait for `status: cancelled`.",
        example="The job is being cancelled already.",
        retry_after_seconds=5,
    ),
    "already_ended": ProblemKind(
        status=409,
        title="The job or set has already ended",
        hint="GET it to see how it ended; DELETE removes it.",
        example="The job has already succeeded.",
    ),
    "not_ready": ProblemKind(
        status=409,
        title="The sample set is not ready",
        hint="Wait for `status: succeeded` (GET the set); POST starts a failed one again.",
        example="The set is running.",
        retry_after_seconds=5,
    ),
    "made_by_job": ProblemKind(
        status=409,
        title="This set is made by its job's own run",
        hint="Cancel, finish or delete the job instead.",
        example="The set is the job's last phase.",
    ),
    "being_deleted": ProblemKind(
        status=409,
        title="This set was deleted a moment ago",
        hint="Its files are still being removed; ask again in two minutes.",
        example="The set was deleted and is still being removed.",
        retry_after_seconds=120,
    ),
    "too_many_jobs": ProblemKind(
        status=429,
        title="Too many unfinished jobs",
        hint="Wait until one of them ends, or cancel one.",
        example="There are 1000 unfinished jobs.",
        retry_after_seconds=60,
    ),
    "too_many_sets": ProblemKind(
        status=429,
        title="Too many unfinished sample sets",
        hint="Wait until one of them is ready, or cancel one.",
        example="This job has 4 unfinished sets.",
        retry_after_seconds=30,
    ),
    "busy": ProblemKind(
        status=503,
        title="Too many uploads are being read right now",
        hint="Try again in a moment.",
        example="All decoders are busy.",
        retry_after_seconds=5,
    ),
    "store_away": ProblemKind(
        status=503,
        title="The queue or the object store is away",
        hint="Nothing was accepted; try again in a moment. GET /readyz tells which of them it is.",
        example="Valkey or the object store does not answer.",
        retry_after_seconds=5,
    ),
    "store_full": ProblemKind(
        status=503,
        title="The store is full",
        hint="Nothing was accepted. Delete old jobs, or give the store more room.",
        example="There is no space left for the inputs.",
        retry_after_seconds=60,
    ),
}

PROBLEM_KINDS: dict[str, ProblemKind] = {**_REQUEST, **_PAIR, **_STATE}
"""Every refusal by its code."""
