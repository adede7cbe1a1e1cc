"""`nvae train`, and `nvae plan`, which takes the same options and stores nothing."""

from typing import Annotated, Any

import typer

from nvae_client.cli import exits, options
from nvae_client.cli.assignments import parse_fields
from nvae_client.cli.connecting import connected
from nvae_client.cli.following import submit, submitted
from nvae_client.cli.showing.amounts import show_bytes, show_count
from nvae_client.cli.showing.tables import pairs_table
from nvae_client.cli.specs import build_spec
from nvae_client.cli.suggesting import suggest
from nvae_client.plans import Plan

Preset = Annotated[str, typer.Option("--preset", "-p", help="What to train; see nvae presets.")]


def train(
    context: options.Context,
    *,
    preset: Preset,
    dataset: options.Dataset,
    override: options.Overrides = None,
    name: options.Name = None,
    tag: options.Tags = None,
    priority: options.Priority = None,
    nodes: options.Nodes = None,
    slots: options.Slots = None,
    seed: options.Seed = None,
    fields: options.Fields = None,
    follow: options.Follow = False,
    as_json: options.AsJson = False,
) -> None:
    """Train a preset on a data set. Prints the job's id."""
    what = {"preset": preset, "dataset": dataset, "name": name, "priority": priority, "seed": seed}
    resources = {"nodes": nodes, "slots": slots}
    spec = _spec(what, override, tags=tag, resources=resources, fields=fields)
    with connected(context, as_json) as session:
        submitted(session, submit(session, spec), follow=follow)


def plan(
    context: options.Context,
    *,
    preset: Preset,
    dataset: options.Dataset,
    override: options.Overrides = None,
    nodes: options.Nodes = None,
    slots: options.Slots = None,
    fields: options.Fields = None,
    as_json: options.AsJson = False,
) -> None:
    """Say what a training would take, and what is wrong with it, without submitting it."""
    resources = {"nodes": nodes, "slots": slots}
    spec = _spec(
        {"preset": preset, "dataset": dataset}, override, resources=resources, fields=fields
    )
    with connected(context, as_json) as session:
        found = session.client.jobs.plan(spec)
        session.terminal.result(found, pairs_table(_pairs(found)))
        if not found.valid:
            pointers = {problem.pointer: problem.message for problem in found.problems}
            for pointer, message in pointers.items():
                session.terminal.note(f"{pointer}: {message}")
            for hint in suggest(session.client, spec, pointers):
                session.terminal.note(f"  {hint}")
            exits.leave(exits.REFUSED)


def _spec(what: dict[str, Any], override: list[str] | None, **options: Any) -> dict[str, Any]:
    overrides = parse_fields(override, "--override")
    return build_spec({"kind": "train", **what, "overrides": overrides}, **options)


def _pairs(plan: Plan) -> dict[str, str | int | None]:
    pairs: dict[str, str | int | None] = {
        "valid": "[green]yes[/]" if plan.valid else "[red]no[/]",
        "ranks": plan.num_ranks,
    }
    if training := plan.training:
        kept = training.num_checkpoints_kept
        pairs |= {
            "parameters": show_count(training.num_parameters),
            "steps": training.num_steps,
            "memory per rank": show_bytes(training.memory_bytes_per_rank),
            "checkpoint": f"{show_bytes(training.checkpoint_bytes)}, {kept} kept",
        }
    return pairs
