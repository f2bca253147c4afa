"""A stand-in for curl where it is not installed: the few options that the demo's commands use."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import httpx


@click.command()
@click.argument("url")
@click.option("-s", "_silent", is_flag=True, help="Taken for curl's sake; there is nothing to silence.")
@click.option("-N", "_unbuffered", is_flag=True, help="Taken for curl's sake; nothing is buffered.")
@click.option("-X", "method", help="The method; GET, or POST with -d.")
@click.option("-H", "headers", multiple=True, help='"Name: value", any number of times.')
@click.option("-d", "body", help="What to send.")
@click.option("-o", "output", type=click.Path(path_type=Path), help="Write the body to this file.")
@click.option("--etag-save", type=click.Path(path_type=Path), help="Write the answer's ETag to this file.")
@click.option("--etag-compare", type=click.Path(path_type=Path), help="Send If-None-Match with this file's ETag.")
def main(
    url: str,
    method: str | None,
    headers: tuple[str, ...],
    body: str | None,
    output: Path | None,
    etag_save: Path | None,
    etag_compare: Path | None,
    **_ignored: bool,
) -> None:
    """Ask URL and write what it answers, as it comes."""
    sent = [(name.strip(), value.strip()) for name, _, value in (header.partition(":") for header in headers)]
    if etag_compare is not None and etag_compare.exists():
        sent.append(("If-None-Match", etag_compare.read_text().strip()))
    asked = method or ("GET" if body is None else "POST")
    out = output.open("wb") if output is not None else sys.stdout.buffer
    timeout = httpx.Timeout(10, read=None)
    try:
        with out, httpx.stream(asked, url, headers=sent, content=body, timeout=timeout, trust_env=False) as answer:
            for piece in answer.iter_raw():
                out.write(piece)
                out.flush()
            if etag_save is not None:
                etag_save.write_text(answer.headers.get("ETag", "") + "\n")
    except httpx.TransportError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
