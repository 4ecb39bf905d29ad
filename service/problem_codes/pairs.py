"""Refusals of the uploaded pair and of options that do not fit it."""

from __future__ import annotations

from service.problem_codes.kind import ProblemKind

PAIR_KINDS = {
    "image_missing": ProblemKind(
        status=422,
        title="The image is missing",
        hint="Send the picture as the file `image` of the form.",
        example="The form has no file `image`.",
    ),
    "mask_missing": ProblemKind(
        status=422,
        title="The mask is missing",
        hint="Send the segmentation mask as the file `mask`, or ask for images alone, without "
        "masks, by mask_supervision=none.",
        example="The form has no file `mask`.",
    ),
    "mask_not_used": ProblemKind(
        status=422,
        title="A mask was given that would not be used",
        hint="Leave out the mask and what describes it, or leave out mask_supervision=none to "
        "train on both.",
        example="mask_supervision=none trains on the image alone, but there is mask.",
    ),
    "needs_osmis": ProblemKind(
        status=422,
        title="The option belongs to the published method",
        hint="Set method=osmis, or leave the option out.",
        example="mask_supervision=projection belongs to the published method, not to "
        "method=projected",
    ),
    "too_many_low_level_blocks": ProblemKind(
        status=422,
        title="The discriminator can't have that many low-level blocks at this size",
        hint="Use fewer, or leave low_level_blocks out.",
        example="low_level_blocks can't be 5 at 64×48 pixels",
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
