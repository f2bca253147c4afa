"""What is made of measurements: verdicts, the table, the summary, the pictures, and when nobody can tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import noise, plots
from bench.measure import Row, as_table, curve, write_json, written
from bench.noise import Moment, Pace
from bench.report import Report
from bench.sizes import growth
from bench.vault import asked

STEADY = Pace(0.010, 0.0105, 0.011)
FACTS = {"seconds": 12.5, "others": 0.01}


def test_the_table_says_what_was_missed_and_by_how_much() -> None:
    missed, kept = Row("slow", 0.9, "s", 0.4, 0.3, beside="bare sockets"), Row("small", 20, "KB", 24)
    text = written([missed, kept]).splitlines()
    assert "0.3 s bare sockets" in text[1]
    assert "3x" in text[1]
    assert "<= 0.4 s" in text[1]
    assert "MISSED" in text[1]
    assert "kept" in text[2]


@pytest.mark.parametrize(("value", "verdict"), [(4499, "MISSED"), (4500, "kept"), (6500, "kept")])
def test_a_promise_may_be_a_least_ratio(value: float, verdict: str) -> None:
    row = Row("read", value, "/s", 0.75, 6000, at_least=True, of_ratio=True)
    assert row.verdict == verdict
    assert row.promised == ">= 0.75x"


@pytest.mark.parametrize(("value", "verdict"), [(0.020, "kept"), (0.0201, "MISSED")])
def test_a_promise_may_be_a_greatest_ratio(value: float, verdict: str) -> None:
    row = Row("flat", value, "s", 2, 0.010, of_ratio=True)
    assert row.verdict == verdict
    assert row.promised == "<= 2x"


def test_what_nothing_was_promised_of_has_no_verdict() -> None:
    assert Row("opened", 300, "/s", floor=400).verdict == ""
    assert Row("opened", 300, "/s", floor=400).ratio == 0.75


def test_noise_takes_the_verdict_from_times_and_not_from_counts() -> None:
    rows = [Row("slow", 0.9, "s", 0.4), Row("left", 0, "", 0), Row("memory", 30, "KB", 24)]
    assert [row.verdict for row in noise.judged(rows, "others used 40% of the machine")] == ["noisy", "kept", "MISSED"]
    assert [row.verdict for row in noise.judged(rows, "")] == ["MISSED", "kept", "MISSED"]


@pytest.mark.parametrize(
    ("others", "before", "after", "said"),
    [
        (0.02, STEADY, STEADY, ""),
        (0.40, STEADY, STEADY, "others used 40% of the machine"),
        (0.02, STEADY, Pace(0.02, 0.021, 0.022), "fixed work took 2.0x as long before or after"),
        (0.02, Pace(0.010, 0.0105, 0.03), STEADY, "fixed work took up to 3.0x its best"),
    ],
)
def test_a_machine_is_noisy_by_who_else_works_and_by_the_pace_of_fixed_work(
    others: float, before: Pace, after: Pace, said: str
) -> None:
    assert noise.told(others, before, after) == said


def test_a_floor_whose_rounds_are_far_apart_tells_nothing() -> None:
    assert noise.unsteady([0.4, 0.5, 0.7]) == ""
    assert noise.unsteady([0.4, 0.5, 1.0]) == "the floor's rounds are 2.5x apart"


def test_the_work_of_others_is_what_the_processors_did_beside_ours() -> None:
    began, ended = Moment(100.0, 1000.0, 5.0), Moment(110.0, 1012.0, 13.0)
    assert noise.others(began, ended, 2) == pytest.approx(0.2)
    assert noise.busy("cpu  100 0 50 9999 7777 0 10 40 30 0") * noise._TICKS == 200, "idle and waiting are no work"


def test_a_watch_sees_the_machine() -> None:
    with noise.Watch() as watch:
        sum(range(1000))
    assert watch.seconds < 5
    assert watch.facts.keys() == {"seconds", "others", "slower_after"}


def test_growth_is_the_exponent_of_the_size() -> None:
    assert growth({1000: 0.01, 30_000: 0.3}) == pytest.approx(1)
    assert growth({1000: 0.01, 30_000: 0.01}) == 0


def test_a_curve_tells_by_when_each_hundredth_had_it() -> None:
    times = curve([10 + number / 1000 for number in range(1000)], since=10)
    assert len(times) == 101
    assert (times[0], times[50], times[100]) == (0, 0.5, 0.999)


def test_only_the_servers_own_reads_of_secrets_are_counted() -> None:
    def line(path: str, who: str = "approle", kind: str = "request") -> str:
        return json.dumps({"type": kind, "auth": {"display_name": who}, "request": {"path": path}})

    lines = [
        line("secret/data/a"),
        line("secret/data/a", kind="response"),
        line("secret/data/a", who="token"),
        line("secret/metadata/a"),
        line("auth/token/renew-self"),
    ]
    assert asked(lines) == {"data": 1, "metadata": 1}


def test_the_summary_keeps_what_another_run_has_measured(tmp_path: Path) -> None:
    write_json(tmp_path / "vault.json", {"table": [], "found": {"distinct": 901}})
    first, second = Report(tmp_path), Report(tmp_path)
    first.add("vault", [Row("reads", 901, "", 1.0, 901, of_ratio=True)], FACTS)
    second.add("sizes", [Row("start", 4.0, "s", 3.0), Row("commit", 1.0, "s", 0.06, noise="busy")], FACTS)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [row["verdict"] for name in ("vault", "sizes") for row in summary[name]["table"]] == [
        "kept",
        "MISSED",
        "noisy",
    ]
    assert summary["vault"]["machine"]["processors"] > 0
    assert json.loads((tmp_path / "vault.json").read_text())["found"] == {"distinct": 901}
    assert second.said.startswith("2 promises: 0 kept, 1 MISSED, 1 noisy. 12 s on ")


def test_numbers_stand_on_one_line(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"times": [0.1, 2, -3e-05], "names": ["a", "b"]})
    text = (tmp_path / "a.json").read_text()
    assert "[ 0.1, 2, -3e-05 ]" in text
    assert json.loads(text) == {"times": [0.1, 2, -3e-05], "names": ["a", "b"]}


@pytest.mark.slow
def test_there_is_a_picture_of_each_result_and_of_all(tmp_path: Path) -> None:
    for name, result in _results().items():
        write_json(tmp_path / f"{name}.json", result)
    drawn = plots.draw(tmp_path)
    assert [file.stem for file in drawn] == list(plots.PICTURES)
    first = [file.read_bytes() for file in drawn]
    assert all(b"</svg>" in picture and len(picture) > 5_000 for picture in first)
    assert [file.read_bytes() for file in plots.draw(tmp_path)] == first, "the same results make the same files"


def test_what_was_not_measured_is_not_drawn(tmp_path: Path) -> None:
    write_json(tmp_path / "vault.json", _results()["vault"])
    assert [file.name for file in plots.draw(tmp_path)] == ["vault.svg"]


def _results() -> dict[str, Any]:
    rising = [number / 100 for number in range(101)]
    reads = {"documents": 3, "seconds": 0.5, "versions": 9}
    rows = [Row("left", 0, "", 0, 10), Row("slow", 2.0, "s", 0.4, 1.0), Row("fast", 3, "/s", 0.75, 6, at_least=True)]
    size = {"start": [1.0], "memory": 90.0, "full": 95.0, "read": [0.002, 0.003], "commit": [0.01], "shared": [0.2]}
    return {
        "summary": {"some": {"table": as_table(rows)}},
        "fanout_ws": {"found": {"curves": [rising, rising]}},
        "fanout_sse": {"found": {"curves": [rising, rising]}},
        "sizes": {"found": {"1000": size, "30000": size}},
        "propagation": {"curve": rising, "push": 0.02, "fetch": 0.03},
        "vault": {"found": {"distinct": 3, "changed": 2, "cold": reads, "warm": reads, "rotated": reads}},
        "peers": {"found": {"reads": {"ours": [3.0], "nginx": [30.0]}, "told": {"ours": {"curve": rising}}}},
    }
