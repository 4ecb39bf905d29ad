"""``onepair``: serve, run, samples, evaluate, keys, rebuild, weights, doctor."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from cli import keys
from cli.api import Service
from cli.common import DataDir, errors_as_messages, settings_of
from cli.doctor import look_at_everything
from cli.embedded import embedded_service
from cli.evaluate import EvaluationRequest, check_target, measure
from cli.evaluation_table import print_report
from cli.rebuild import rebuild_records
from cli.run import RunRequest, fetch_set, run_job
from cli.serve import serve as serve_everything
from cli.weights import install_weights
from jobs.checkup import Verdict
from jobs.record import MaskSupervision

app = typer.Typer(
    help="One annotated image in, a training set out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
app.add_typer(keys.app, name="keys")
weights = typer.Typer(help="The network that SIFID is measured with.", no_args_is_help=True)
app.add_typer(weights, name="weights")

Url = Annotated[str | None, typer.Option(help="A running service; without it, one is started.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Folder for the result.")]
Count = Annotated[int, typer.Option("-n", "--n", min=1, max=10_000, help="Samples to generate.")]
InputFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)]
MaskFile = Annotated[
    Path | None,
    typer.Argument(
        exists=True,
        dir_okay=False,
        readable=True,
        help="Left out with --mask-supervision none.",
        show_default=False,
    ),
]


@app.command()
def serve(
    data_dir: DataDir = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 picks a free one.")] = None,
    allow_open: Annotated[
        bool, typer.Option("--allow-open", help="Listen beyond this machine without API keys.")
    ] = False,
    keep_days: Annotated[
        float | None,
        typer.Option(help="Jobs are deleted so long after they were made.", show_default="30"),
    ] = None,
) -> None:
    """Start Valkey, the workers and the gateway on this machine."""
    console = Console()
    with errors_as_messages():
        settings = settings_of(
            data_dir,
            host=host,
            port=port,
            allow_open=allow_open or None,
            retention_days=keep_days,
        )
        serve_everything(settings, console)


@app.command("rebuild")
def rebuild_command(data_dir: DataDir = None) -> None:
    """Bring finished jobs and sets back from the object store, should Valkey's data be lost.

    What was unfinished then is lost. Jobs that are known stay as they are: to repeat it is safe.
    """
    with errors_as_messages():
        count = rebuild_records(settings_of(data_dir))
    print(f"{count} finished jobs and sets restored")


@weights.command("install")
def install(
    source: Annotated[str, typer.Argument(help="A file or a URL: inception_v3_google-*.pth.")],
    sha256: Annotated[
        str | None, typer.Option(help="Of the file.", show_default="the digits in its name")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Check InceptionV3's weights and keep them; prints the settings that make workers use them."""
    with errors_as_messages():
        installed = install_weights(source, sha256, settings_of(data_dir).data_dir)
    print(installed.settings())


@app.command()
def doctor(
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Look at Valkey, the object store, disk, device, weights and access, and say what to do.

    With the settings of the service: run it where the service runs. Exit status 1: something must
    be mended.
    """
    with errors_as_messages():
        findings = list(look_at_everything(settings_of(data_dir)))
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            print(f"{finding.verdict:4}  {finding.name}: {finding.detail}")
            if finding.hint:
                print(f"      {finding.hint}")
    if any(finding.verdict is Verdict.BAD for finding in findings):
        raise typer.Exit(1)


@app.command()
def run(
    image: InputFile,
    output: Output,
    mask: MaskFile = None,
    preset: Annotated[
        Literal["draft", "standard", "paper"], typer.Option(help="Sets length and size.")
    ] = "standard",
    method: Annotated[
        Literal["projected", "osmis"] | None,
        typer.Option(help="On frozen features, or as published.", show_default="the preset's"),
    ] = None,
    mask_supervision: Annotated[
        MaskSupervision,
        typer.Option(help="none: IMAGE alone. Others than mca and none need --method osmis."),
    ] = "mca",
    low_level_blocks: Annotated[
        int | None,
        typer.Option(min=1, max=5, help="With --method osmis.", show_default="by the size"),
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0.05, help="Training budget.")] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="Training steps instead.")] = None,
    max_size: Annotated[int | None, typer.Option(help="Longest training side, pixels.")] = None,
    output_size: Annotated[
        str, typer.Option(help="native, train or WxH, of the delivered images.")
    ] = "native",
    seed: Annotated[int, typer.Option(min=0, help="Of the training.")] = 0,
    n: Count = 100,
    classes: Annotated[str | None, typer.Option(help="Names by index: background,coin")] = None,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Train on one annotated IMAGE and its MASK, and unpack the new pairs.

    With --mask-supervision none on IMAGE alone; then images come out.
    """
    console = Console()
    request = RunRequest(
        preset=preset,
        method=method,
        mask_supervision=mask_supervision,
        low_level_blocks=low_level_blocks,
        minutes=minutes,
        iterations=iterations,
        max_size=max_size,
        output_size=output_size,
        seed=seed,
        n=n,
        class_names=tuple(classes.split(",")) if classes else None,
    )
    with errors_as_messages(), _service(url, data_dir, console) as service:
        job = run_job(service, image, mask, request, console)
        archive, sheet = fetch_set(service, job["id"], n=n, seed=0, target=output, console=console)
    _print_paths(archive, sheet)


@app.command()
def samples(
    job: Annotated[str, typer.Argument(help="Id of a trained job.")],
    output: Output,
    n: Count = 100,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other samples.")] = 0,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Make (or fetch) a sample set of a trained JOB."""
    console = Console()
    with errors_as_messages(), _service(url, data_dir, console) as service:
        archive, sheet = fetch_set(service, job, n=n, seed=seed, target=output, console=console)
    _print_paths(archive, sheet)


@app.command()
def evaluate(
    pairs: Annotated[Path, typer.Argument(help="A zip or folder with images/ and masks/.")],
    image: InputFile,
    mask: InputFile,
    limit: Annotated[int, typer.Option(min=0, help="Pairs to judge; 0 judges all.")] = 100,
    unet: Annotated[bool, typer.Option(help="Train a U-Net on the pairs: the slow part.")] = True,
    unet_repeats: Annotated[int, typer.Option(min=1, help="U-Nets, each of another seed.")] = 1,
    json_to: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write JSON; - prints it.")
    ] = None,
    inception_weights: Annotated[
        Path | None,
        typer.Option(envvar="ONEPAIR_INCEPTION_WEIGHTS", help="InceptionV3 weights, for SIFID."),
    ] = None,
    inception_sha256: Annotated[
        str | None, typer.Option(envvar="ONEPAIR_INCEPTION_SHA256", help="Their SHA-256.")
    ] = None,
    classes: Annotated[str | None, typer.Option(help="Names by index: background,coin")] = None,
    mask_encoding: Annotated[
        Literal["auto", "index", "binary", "rgb"], typer.Option(help="Of the source's mask.")
    ] = "auto",
    ignore_index: Annotated[
        int | None, typer.Option(min=0, max=255, help="Mask value without a label.")
    ] = None,
) -> None:
    """Measure PAIRS, made by anyone, against the IMAGE and MASK that they came from."""
    request = EvaluationRequest(
        pairs=pairs,
        image=image,
        mask=mask,
        limit=limit,
        unet=unet,
        unet_repeats=unet_repeats,
        inception_weights=inception_weights,
        inception_sha256=inception_sha256,
        classes=classes,
        mask_encoding=mask_encoding,
        ignore_index=ignore_index,
    )
    with errors_as_messages():
        check_target(json_to)
        report = measure(request, Console(stderr=True))
    text = json.dumps(report, indent=2, ensure_ascii=False)
    if json_to == "-":
        print(text)
        return
    print_report(report, Console())
    if json_to is not None:
        Path(json_to).write_text(text + "\n", encoding="utf-8")


def _print_paths(archive: Path, sheet: Path) -> None:
    print(archive.resolve())
    print(sheet.resolve())


@contextmanager
def _service(url: str | None, data_dir: Path | None, console: Console) -> Iterator[Service]:
    """A client of the named service, or of one started for this command."""
    api_key = os.environ.get("ONEPAIR_API_KEY")
    if url is not None:
        service = Service(url, api_key=api_key)
        try:
            yield service
        finally:
            service.close()
        return
    folder = settings_of(data_dir).data_dir
    with embedded_service(folder, console) as address:
        service = Service(address, api_key=api_key)
        try:
            yield service
        finally:
            service.close()


if __name__ == "__main__":
    app()
