"""`outreach policy show`: what may run by itself on which channel, why, by which document, and what widens it. Needs no database."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outreach.cli import output
from outreach.cli.output import AsJson, note, say
from outreach.cli.session import read_settings
from outreach.errors import UsageError

if TYPE_CHECKING:
    from outreach.engine.graph import Graph
    from outreach.engine.kinds import Channel

policy = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Policy packs: data, with sources.")


@policy.command()
def show(
    ctx: typer.Context,
    channel: Annotated[str, typer.Argument(help="twitter, linkedin, xmtp or email; without it: all.")] = "",
    as_json: AsJson = False,
) -> None:
    """The channel's pack: per action its lane, the reason, what widens it, and the sources with the day they were read."""
    from outreach.clock import LiveClock
    from outreach.engine.kinds import Channel
    from outreach.engine.suggest import did_you_mean

    names = [known.value for known in Channel]
    if channel and channel not in names:
        raise UsageError(f"no channel {channel!r}", hint=did_you_mean(channel, names))
    settings = read_settings(ctx)
    now = LiveClock(origin=settings.clock_origin, factor=settings.clock_factor).now()
    found = [pack_of(Channel(name), now) for name in ([channel] if channel else names)]
    if as_json:
        output.document(found[0] if channel else found)
    else:
        for index, pack in enumerate(found):
            say() if index else None
            _say_pack(pack)
    warn_of_old(now, [Channel(pack["channel"]) for pack in found])


def pack_of(channel: "Channel", now: datetime) -> dict[str, Any]:
    """The whole pack as plain values."""
    from outreach.compliance import sources
    from outreach.compliance.packs import BASE, PACK_OF
    from outreach.compliance.verdicts import RULES

    pack = PACK_OF[channel]
    return {
        "channel": channel.value,
        "pack": pack.name,
        "version": pack.version,
        "read_on": sources.read_on(pack),
        "age_days": sources.age(pack, now).days,
        "old": sources.is_old(pack, now),
        "adapter": _has_adapter(channel),
        "actions": [_action(kind.value, automation) for kind, automation in pack.automation.items()],
        "sources": [output.plain(source) for source in sources.SOURCES[pack.name]],
        "rules": [_rule(rule) for rule in RULES.values() if rule.pack == pack.name],
        "base": {
            "pack": BASE.name,
            "version": BASE.version,
            "rules": [_rule(rule) for rule in RULES.values() if rule.pack == BASE.name],
        },
    }


def _has_adapter(channel: "Channel") -> bool:
    """Can this release call the channel's provider at all?"""
    from outreach.providers.registry import build_providers
    from outreach.providers.unavailable import UnavailableProvider

    return not isinstance(build_providers(True)[channel.value], UnavailableProvider)


def _action(kind: str, automation: Any) -> dict[str, Any]:
    from outreach.compliance.sources import LANES
    from outreach.compliance.verdicts import RULES

    lane = LANES[automation]
    return {
        "kind": kind,
        "lane": "auto" if lane.auto else lane.otherwise,
        "auto_when": lane.auto,
        "otherwise": lane.otherwise,
        "rule": lane.rule,
        "reason": RULES[lane.rule].meaning,
        "override": lane.override,
    }


def _rule(rule: Any) -> dict[str, Any]:
    return {"rule": rule.name, "verdict": rule.decision.value, "meaning": rule.meaning}


def _say_pack(pack: dict[str, Any]) -> None:
    say(
        f"{pack['channel']}: pack {pack['pack']}, version {pack['version']}, sources read on {pack['read_on']} ({pack['age_days']} days ago)"
    )
    if not pack["adapter"]:
        say("  this release has no adapter for it: whatever the pack permits, only humans act here")
    for action in pack["actions"]:
        say(f"  {action['kind']}")
        say(f"    by itself  {action['auto_when'] or 'never'}")
        say(f"    otherwise  {action['otherwise']}: {action['reason']} [{action['rule']}]")
        say(f"    override   {action['override'] or 'none'}")
    for source in pack["sources"]:
        say(f"  source  {source['title']}, read on {source['read']}: {source['says']}")
        say(f"          {source['url']}")
    say(
        f"  beneath it the pack base, version {pack['base']['version']}: {len(pack['base']['rules'])} rules for every channel"
    )


def warn_of_old(now: datetime, channels: "Sequence[Channel]") -> None:
    """On stderr, a line per pack whose sources nobody has read for half a year."""
    from outreach.compliance import sources

    for pack in sources.old_packs(now, channels):
        note(f"warning: {sources.warning(pack, now)}")


def warn_for_graph(graph: "Graph", now: datetime) -> None:
    """The same for the channels that a sequence speaks on."""
    warn_of_old(now, [node.channel for node in graph.nodes.values() if node.channel is not None])


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.add_typer(policy, name="policy")
