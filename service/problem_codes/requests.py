"""Refusals of the request itself: its form, its address, its fields."""

from __future__ import annotations

from service.problem_codes.kind import ProblemKind

REQUEST_KINDS = {
    "malformed": ProblemKind(
        status=400,
        title="The request can't be read",
        hint="Send multipart/form-data with the files `image` and `mask` and their fields.",
        example="Invalid multipart data.",
    ),
    "no_api_key": ProblemKind(
        status=401,
        title="This service asks for an API key",
        hint="Send `Authorization: Bearer <key>`; the command line takes it from ONEPAIR_API_KEY. "
        "The operator makes keys with `onepair keys create`.",
        example="The request has no API key.",
    ),
    "wrong_api_key": ProblemKind(
        status=401,
        title="This is no API key of this service",
        hint="Copy the key again, all of it: onepair_, twelve digits, and what follows.",
        example="The API key is not known.",
    ),
    "revoked_api_key": ProblemKind(
        status=401,
        title="This API key was revoked",
        hint="Ask the operator for a new one.",
        example="The API key was revoked.",
    ),
    "wrong_host": ProblemKind(
        status=403,
        title="This service does not answer to that name",
        hint="Ask it by its address or as http://localhost, name the host in "
        "ONEPAIR_ALLOWED_HOSTS, or make an API key (`onepair keys create`).",
        example="The request's Host header is a name we don't know.",
    ),
    "other_site": ProblemKind(
        status=403,
        title="Pages of other sites may change nothing here",
        hint="Send the request from a program, or make an API key (`onepair keys create`).",
        example="A page of another site has sent this.",
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
    "webhooks_off": ProblemKind(
        status=404,
        title="This service sends no webhooks",
        hint="Follow GET /jobs/{id}/events instead.",
        example="This service sends no webhooks.",
    ),
    "not_found": ProblemKind(
        status=404,
        title="There is nothing at this address",
        hint="GET /docs lists every address.",
        example="There is nothing at this address.",
    ),
    "method_not_allowed": ProblemKind(
        status=405,
        title="This address does not take this method",
        hint="The `Allow` header and GET /docs list the methods.",
        example="This address does not take this method.",
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
    "slow_upload": ProblemKind(
        status=408,
        title="The upload came too slowly",
        hint="Send it again, on a better line or with smaller files.",
        example="Nothing came for 30 seconds.",
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
    "too_many_requests": ProblemKind(
        status=429,
        title="Too many requests with this API key",
        hint="Wait as long as `Retry-After` says; follow /jobs/{id}/events, or give `wait` when "
        "polling.",
        example="This key has made 600 requests within a minute.",
        retry_after_seconds=60,
    ),
    "internal_error": ProblemKind(
        status=500,
        title="Something went wrong on our side",
        hint="Try again; if it stays, report it with this answer's `X-Request-ID`.",
        example="The request could not be completed.",
    ),
}
