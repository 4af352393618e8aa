"""Options that several verbs share: their words, their help, what they do."""

from typing import Annotated

import typer

Inputs = Annotated[
    list[str], typer.Argument(help="Pictures, videos, folders of pictures, or globs.", show_default=False)
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        help="File, folder, or template: {stem} {suffix} {folder} {scale} {model}.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None, typer.Option("-m", "--model", help="A model id, or a .safetensors file.", show_default=False)
]
Refine = Annotated[
    str | None,
    typer.Option(help="Look for a small picture that restores better: 20 (steps), 30s, or +1.0dB.", show_default=False),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, ...; CUDA where there is one.", show_default=False)]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files; a source never.")]
DryRun = Annotated[bool, typer.Option("-n", "--dry-run", help="Say what would be written, and stop.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
Quality = Annotated[
    int | None,
    typer.Option(min=1, max=100, help="Of JPEG, AVIF and WebP; WebP is lossless without.", show_default=False),
]
MaxPixels = Annotated[int, typer.Option(min=1, help="Refuse larger sources and results.")]
PIXELS = 100_000_000


def use_threads(count: int | None) -> None:
    """Let torch use so many CPU threads; as many as it likes without a count."""
    if count:
        import torch

        torch.set_num_threads(count)


def use_machine(threads: int | None) -> None:
    """What a program that does nothing else may do to be fast."""
    from rescale import memory

    memory.keep()
    use_threads(threads)
