"""/v1/admin/status, /problems, /instances: how the server and its clients are, as far as the caller may see."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

from flask import Blueprint, g, request
from flask.typing import ResponseReturnValue

from app.access import Access, Action, holds
from app.blueprints.schemas import InstancesQuery, NoQuery, ProblemsQuery, load_query
from app.changes import Planner
from app.engine import ConfigEngine, Instances, Problem, Problems, Rollouts, World, bad_head, totals, withheld_problems
from app.model import Json, Target
from app.observability import Health

_NONE, _INSTANCES_QUERY, _PROBLEMS_QUERY = NoQuery(), InstancesQuery(), ProblemsQuery()


def blueprint(
    engine: ConfigEngine,
    problems: Problems,
    instances: Instances,
    planner: Planner,
    rollouts: Rollouts,
    withheld: Callable[[], Mapping[str, str]],
    access: Access,
    health: Health,
) -> Blueprint:
    """`planner` knows the targets that the repository speaks of; `withheld` the heads that nobody vouches for."""
    routes = Blueprint("overview", __name__, url_prefix="/v1/admin")

    def is_visible(target: Target) -> bool:
        return access.view(g.principal, target.service, target.envs) is not None

    def found(world: World) -> tuple[list[Target], list[Problem]]:
        """The targets that somebody asks for or follows and the caller may see, and what is wrong with them."""
        known = {each.topic: each for each in (*instances.targets(), *engine.known())}  # by two names, some of them
        targets = list(filter(is_visible, known.values()))
        return targets, problems.among(world, targets)

    def status() -> ResponseReturnValue:
        load_query(_NONE, request.args)
        world, sees_all = engine.world, holds(g.principal, Action.VIEW)
        targets, wrong = found(world)
        listed = filter(is_visible, planner.known(world))
        head = world.heads.get(world.default_label)
        return {
            **health.report(),
            "rev": str(world.rev),
            "label": world.default_label,
            "head": head.commit if head else None,
            "since": head.at if head else None,
            "stale": [each.as_json() for each in world.stale],
            "repositories": {name: _repository(each) for name, each in world.further.items()} if sees_all else {},
            "targets": {"known": len({*targets, *listed}), **_counted(wrong)},
            "instances": totals(instances.all(world, is_visible)),
        }

    def list_problems() -> ResponseReturnValue:
        query = load_query(_PROBLEMS_QUERY, request.args)
        world = engine.world
        targets, wrong = found(world)
        if query["all"]:
            unasked = filter(is_visible, planner.known(world) - set(targets))
            wrong += [bad_head(*each) for each in planner.bad(world, unasked)]
        if holds(g.principal, Action.VIEW):
            of_all = (problems.of_repositories(world), rollouts.problems(world), withheld_problems(world, withheld()))
            wrong += itertools.chain.from_iterable(of_all)
        return {"problems": [each.as_json() for each in wrong]}

    def list_instances() -> ResponseReturnValue:
        query = load_query(_INSTANCES_QUERY, request.args)

        def is_wanted(target: Target) -> bool:
            named = query.get("service") in (None, target.service) and query.get("env") in (None, target.env)
            return named and is_visible(target)

        known = instances.all(engine.world, is_wanted)
        behind = query.get("behind")
        shown = [each for each in known if behind is None or each.behind is behind]
        start, end = query["offset"], query["offset"] + query["limit"]
        return {
            "totals": totals(known),
            "instances": [each.as_json() for each in shown[start:end]],
            "next": end if end < len(shown) else None,
        }

    views: dict[str, Callable[[], ResponseReturnValue]] = {
        "status": status,
        "problems": list_problems,
        "instances": list_instances,
    }
    for name, view in views.items():
        routes.get(f"/{name}", endpoint=name)(view)
    return routes


def _repository(world: World) -> dict[str, Json]:
    """A further repository, as it stands here."""
    head = world.heads.get(world.default_label)
    return {
        "label": world.default_label,
        "head": head.commit if head else None,
        "since": head.at if head else None,
        "stale": [each.as_json() for each in world.stale],
    }


def _counted(problems: list[Problem]) -> dict[str, int]:
    return {kind: sum(each.kind == kind for each in problems) for kind in ("held_back", "failing")}
