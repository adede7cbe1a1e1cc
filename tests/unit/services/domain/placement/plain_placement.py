"""The rules of placement again, by searching all nodes for every job: slow, and plain to read."""

from dataclasses import dataclass


@dataclass
class Books:
    """One node's slots: free, held by short jobs, reserved, and reserved in reach."""

    node: object
    free: int
    soon_free: int
    reserved: int = 0
    in_reach: int = 0

    @property
    def id(self):
        return self.node.id

    @property
    def spare(self):
        return max(0, self.free - self.reserved)

    @property
    def open_to_short(self):
        return max(0, self.free - self.in_reach)

    @property
    def soon_spare(self):
        return max(0, self.free + self.soon_free - self.reserved)


def place_plainly(jobs, nodes):
    """Return the ids of the nodes of each placed job; jobs are in the order of the queue."""
    cluster = [Books(node, len(node.free), node.soon_free) for node in nodes]
    cluster.sort(key=lambda books: books.id)
    placed = {}
    for job in jobs:
        groups = groups_for(job, cluster)
        chosen = choose(job, groups)
        for books in chosen:
            books.free -= job.num_slots
            books.soon_free += job.num_slots if job.is_short else 0
        if chosen:
            placed[job.id] = [books.id for books in chosen]
        elif groups:
            reserve(job, groups)
    return placed


def groups_for(job, cluster):
    """Return the sets of nodes that could run the job if they were all free."""
    able = [
        books
        for books in cluster
        if books.node.num_slots >= job.num_slots and job.labels.items() <= books.node.labels.items()
    ]
    willing = [books for books in able if books.id not in job.avoided]
    for candidates in (willing, able):
        if job.num_nodes == 1:
            groups = [candidates]
        else:
            versions = sorted({books.node.version for books in candidates})
            groups = [[b for b in candidates if b.node.version == v] for v in versions]
        if groups := [group for group in groups if len(group) >= job.num_nodes]:
            return groups
    return []


def choose(job, groups):
    """Return the nodes with the fewest slots that the job may have."""
    for kind in ("spare", "open_to_short") if job.is_short else ("spare",):
        fits = []
        for group in groups:
            enough = [books for books in group if getattr(books, kind) >= job.num_slots]
            enough.sort(key=lambda books: getattr(books, kind))
            if len(enough) >= job.num_nodes:
                fits.append(enough[: job.num_nodes])
        if fits:
            return min(fits, key=lambda fit: sum(getattr(books, kind) for books in fit))
    return []


def reserve(job, groups):
    """Reserve on the nodes where the fewest slots are missing, of training first."""

    def missing(books):
        slots = books.soon_spare, books.spare
        return tuple(max(0, job.num_slots - count) for count in slots)

    plans = [sorted(group, key=missing)[: job.num_nodes] for group in groups]
    for books in min(plans, key=lambda plan: total(map(missing, plan))):
        if books.soon_spare:
            is_in_reach = job.num_slots <= books.soon_spare
            books.reserved += job.num_slots
            books.in_reach = books.reserved if is_in_reach else books.in_reach


def total(pairs):
    return tuple(map(sum, zip(*pairs, strict=True)))
