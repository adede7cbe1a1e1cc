"""Why a job waits, in words for its user; without numbers that change while nothing else does."""

from services.domain.placement.demand import Candidates, Cluster, Demand


def waits_for(demand: Demand, candidates: Candidates) -> str:
    """Say what has to become free."""
    labels = _labels(demand)
    if demand.num_nodes == 1:
        where = f" on one node with {labels}" if labels else " on one node"
        message = f"waits for {_slots(demand.num_slots, 'free slot')}{where}"
    else:
        versions = " of one version" if candidates.mixed_versions else ""
        slots = _slots(demand.num_slots, "free slot")
        has = f"{slots} each and {labels}" if labels else f"{slots} each"
        message = f"waits for {demand.num_nodes} nodes{versions} with {has}"
    return f"{message}, other than those it failed on twice" if candidates.avoids else message


def held_back_by(job_id: str) -> str:
    """Say that there are free slots, and who is to get them."""
    return f"held back by {job_id}, which is ahead in the queue and needs the free slots"


def never_fits(demand: Demand, cluster: Cluster) -> str:
    """Say why the nodes there are can never run the job, and what would help."""
    labels = _labels(demand)
    slots = _slots(demand.num_slots, "slot")
    has = f"{slots} and {labels}" if labels else slots
    if not cluster.all:
        return "no node is in service: start a worker, or uncordon a node"
    if not cluster.labelled(demand):
        return f"no node in service has {labels}: ask for others, or start such a node"
    suitable = cluster.suitable(demand).bit_count()
    if not suitable:
        return f"no node in service has {has}: ask for fewer slots, or start such a node"
    if suitable < demand.num_nodes:
        nodes = f"fewer than {demand.num_nodes} nodes in service have {has}"
        return f"{nodes}: ask for fewer nodes, or start more of them"
    nodes = f"fewer than {demand.num_nodes} nodes in service with {has} are of the same version"
    return f"{nodes}: install one version on all nodes"


def _slots(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _labels(demand: Demand) -> str:
    words = ", ".join(f"{name}={value}" for name, value in sorted(demand.labels))
    return f"the label{'s' * (len(demand.labels) > 1)} {words}" if words else ""
