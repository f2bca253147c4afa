"""What a server that starts again has of further repositories, and how the file may change in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import SettingsError
from devstack.issuer import LocalIssuer
from tests.further.several import Several
from tests.serving import new_server, serving, serving_origin
from tests.support import eventually


@pytest.fixture
def several(tmp_path: Path) -> Several:
    made = Several(tmp_path)
    made.add("pay", {"pay.yml": "n: 1\n"}, poll_seconds=0.2)
    return made


@pytest.mark.slow
def test_after_a_restart_with_every_remote_away_all_is_served_from_the_mirrors(
    tmp_path: Path, issuer: LocalIssuer, several: Several
) -> None:
    pay = several.origins["pay"]
    with serving(tmp_path, issuer, {"shop.yml": "n: 2\n"}, repositories_file=several.file) as first:
        assert first.refresh().status_code == 200
        before = first.body("pay/prod")
        origin = first.origin
    away = [each.bare.rename(each.bare.with_suffix(".away")) for each in (origin, pay)]
    with serving_origin(tmp_path, issuer, origin, repositories_file=several.file) as again:
        held = again.body("pay/prod")
        assert (held["config"], held["version"]) == (before["config"], before["version"])
        eventually(lambda: again.body("pay/prod").get("stale", [{}])[0].get("reason") == "git")
        eventually(lambda: again.body("shop/prod").get("stale", [{}])[0].get("reason") == "git")
        away[1].rename(pay.bare)
        pay.write({"pay.yml": "n: 3\n"})
        eventually(lambda: again.config("pay/prod") == {"n": 3})  # though the main repository is away still
        eventually(lambda: "stale" not in again.body("pay/prod"))  # which is written down after the announcement
        assert again.body("shop/prod")["stale"][0]["reason"] == "git"


@pytest.mark.slow
def test_the_file_may_gain_and_lose_a_repository_from_one_start_to_the_next(
    tmp_path: Path, issuer: LocalIssuer, several: Several
) -> None:
    with serving(tmp_path, issuer, {"pay.yml": "n: main\n"}) as without:
        assert without.config("pay/prod") == {"n": "main"}
        origin = without.origin
    with serving_origin(tmp_path, issuer, origin, repositories_file=several.file) as within:
        assert within.refresh().status_code == 200
        assert within.config("pay/prod") == {"n": 1}
        within.push({"pay.yml": "n: still main\n"})
        assert within.config("pay/prod") == {"n": 1}
    with serving_origin(tmp_path, issuer, origin) as without:
        assert without.config("pay/prod") == {"n": "still main"}


def test_a_file_that_is_wrong_is_refused_before_anything_starts(tmp_path: Path, issuer: LocalIssuer) -> None:
    file = tmp_path / "repositories.toml"
    file.write_text('[[repository]]\nname = "pay"\nurl = "/x"\nbrnch = "main"\n')
    with pytest.raises(SettingsError, match=r"REPOSITORIES_FILE: repository 1 \(pay\): brnch: Unknown field"):
        new_server(tmp_path, issuer, "/nowhere", repositories_file=file)
