"""`python -m app`."""

import gc

gc.set_threshold(20_000, 20, 20)  # as in a worker: modules are objects that stay, and loading them takes a fifth less

from app.cli import main  # noqa: E402

main(prog_name="python -m app")
