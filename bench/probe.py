import sys
import tempfile
import time
from pathlib import Path

from bench import wire
from bench.load import Load
from bench.process import *
from bench.stage import Stage


def main():
    count = int(sys.argv[1])
    kind = {"ws": wire.websocket, "sse": wire.events}[sys.argv[2]]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    with tempfile.TemporaryDirectory() as d, Stage(Path(d), topics=200, streams=count + 100) as stage:
        t = time.time()
        ops = stage.openings(count, kind)
        print("tokens", time.time() - t)
        print("pid", stage.worker, flush=True)
        p0 = pss_kb(stage.worker)
        f0 = descriptors(stage.worker)
        with Load(stage.server.port) as load:
            try:
                s = load.open(ops, timeout=180)
            except Exception:
                print(stage.server.output()[-3000:])
                raise
            print("open", s, count / s)
            time.sleep(2)
            p1 = pss_kb(stage.worker)
            print("pss", p0, p1, (p1 - p0) / count, "KB each; fds", descriptors(stage.worker) - f0, flush=True)
            for r in range(1, rounds + 1):
                stage.push(f"r-{r}.")
                load.expect(f"r-{r}.")
                t0 = stage.hook()
                a = load.arrivals(timeout=20)
                x = lambda q: a.times[min(len(a.times) - 1, int(len(a.times) * q))]
                print(
                    "n",
                    len(a.times),
                    "size",
                    a.size,
                    "lost",
                    a.lost,
                    "hook p50 %.3f p99 %.3f max %.3f" % (x(0.5) - t0, x(0.99) - t0, a.times[-1] - t0),
                    "first %.3f" % (a.times[0] - t0),
                    "from first %.3f" % (x(0.99) - a.times[0]),
                    flush=True,
                )
                time.sleep(1)
                print("install", stage.install_seconds())
            p2 = pss_kb(stage.worker)
            print("pss after", (p2 - p0) / count, load_average())
            time.sleep(float(sys.argv[4]) if len(sys.argv) > 4 else 0)
            load.drop()


if __name__ == "__main__":
    main()
