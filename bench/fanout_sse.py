"""10,000 SSE subscribers of 200 topics on one worker: memory, and one change to all."""

from bench.one_worker import main

if __name__ == "__main__":
    main("sse")
