"""``./lab profile show NAME`` and ``./lab profile new --device SERIAL``."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from base.arguments import CommandParser
from devices.connect import connect
from devices.profiles.found import profile_of
from devices.profiles.nodes import Where
from devices.profiles.profile import Plan, foreign_keys
from devices.profiles.reading import resolved
from devices.profiles.spelling import spelled


def main(argv: list[str]) -> int:
    """Print a profile: what one means, with where each value was written, or a new one for an attached phone."""
    parser = CommandParser(prog="lab profile", description="Show what a profile means, or write one for a phone.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    show = commands.add_parser("show", help="the merged values, each with the file and line that it comes from")
    show.add_argument("name", metavar="PROFILE", help="a profile's name, or a path")
    show.add_argument("--plan", choices=list(map(str, Plan)), help="with the changes of this plan")
    new = commands.add_parser("new", help="a profile for an attached phone, with the reason beside each value")
    new.add_argument("--device", required=True, metavar="SERIAL", help="the phone; nothing on it is changed")
    arguments = parser.parse_args(argv)
    print(_shown(arguments.name, arguments.plan) if arguments.command == "show" else _new(arguments.device), end="")
    return 0


def _shown(name: str, plan: str | None) -> str:
    found = resolved(name)
    profile = found.profile.for_plan(plan) if plan else found.profile
    values: dict[str, Any] = profile.model_dump(mode="json", exclude={"plans"} if plan else None)
    for section in ("backing", "apps"):
        for key in foreign_keys(getattr(profile, section)):
            del values[section][key]
    if not plan:
        values["plans"] = profile.plans.model_dump(mode="json", exclude_unset=True)

    def origin(key: str) -> str:
        where: Where | None = found.origins.get(f"plans.{plan}.{key}") or found.origins.get(key)
        return str(where) if where else "the default"

    return spelled(values, origin)


def _new(serial: str) -> str:
    with closing(connect(serial)) as transport:
        return profile_of(transport)
