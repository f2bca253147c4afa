"""Where a target's files lie when it is read from further repositories."""

from __future__ import annotations

from app.effective import Places
from app.model import Target

PLACES = Places({"": ("main/{service}",), "team": ("config", "{label}/{service}"), "shared": ("", "*/all")})
BOTH = Target("pay", ("prod",), "team:v1^shared:main")


def yml(target: Target, folders: list[str] | None = None) -> list[str]:
    return [each.path for each in PLACES.candidates(target, folders) if each.path.endswith(".yml")]


def test_a_target_of_no_further_repository_has_the_paths_of_the_configuration_repository() -> None:
    target = Target("pay", ("prod",), "main")
    assert yml(target)[0] == "main/pay/pay-prod.yml"
    assert list(PLACES.spots(target, None, "x.txt")) == ["main/pay/x.txt"]


def test_all_of_the_first_repository_is_stronger_than_what_the_next_one_has() -> None:
    names = ["pay-prod.yml", "application-prod.yml", "pay.yml", "application.yml"]
    assert yml(Target("pay", ("prod",), "shared:main"), [])[:4] == [f"shared:{name}" for name in names]
    found = yml(BOTH, ["shared:eu/all", "team:eu/all", "eu/all"])
    assert found[:3] == ["team:v1/pay/pay-prod.yml", "team:v1/pay/application-prod.yml", "team:config/pay-prod.yml"]
    assert found[8] == "shared:eu/all/pay-prod.yml"
    assert not any("team:" in path for path in found[8:])


def test_plain_files_are_looked_for_in_the_same_order() -> None:
    spots = list(PLACES.spots(BOTH, ["shared:eu/all"], "x.txt"))
    assert spots == ["team:v1/pay/x.txt", "team:config/x.txt", "shared:eu/all/x.txt", "shared:x.txt"]


def test_another_services_folder_is_known_in_each_repository_by_its_own_search_paths() -> None:
    places = Places({"": ("",), "team": ("of/{service}",)})
    target = Target("pay", ("prod",), "team:main")
    assert places.is_anothers("team:of/shop/x.txt", target, None)
    assert not places.is_anothers("team:of/pay/x.txt", target, None)
    assert not places.is_anothers("of/shop/x.txt", Target("pay", ("prod",), "main"), None)


def test_the_schemas_of_each_repository_hold() -> None:
    folder = ".config-server/schemas"
    assert PLACES.schema_paths(BOTH) == tuple(
        f"{name}:{folder}/{file}.json" for name in ("team", "shared") for file in ("application", "pay")
    )
