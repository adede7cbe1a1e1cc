"""Rules of users and operators."""

from building import add_job
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from runner_rules import ServiceRules, pick, which
from snapshot import rows

from services.api.jobs.submission import ForkOptions, fork_job
from services.database import checkpoints, control, jobs, nodes
from services.domain.errors import Conflict
from services.domain.states import Reason, StopRequest

MAX_JOBS = 6
RUN_SECONDS = 5000.0

specs = st.fixed_dictionaries(
    {
        "priority": st.sampled_from([50, 0, 100]),
        "max_run_seconds": st.sampled_from([None, None, RUN_SECONDS]),
        "resources": st.fixed_dictionaries(
            {"nodes": st.sampled_from([1, 1, 2]), "slots": st.integers(1, 2)}
        ),
    }
)


class UserRules(ServiceRules):
    """Jobs are submitted, stopped, resumed, changed and forked; nodes are cordoned and drained."""

    @precondition(lambda self: len(self.model.jobs) < MAX_JOBS)
    @rule(spec=specs)
    def submit(self, spec):
        job = self.do(add_job(self.database, **spec, checkpoint={"keep_last": 1}))
        self.model.jobs.append(job.id)

    @precondition(lambda self: self.model.jobs)
    @rule(number=which, forced=st.booleans())
    def cancel(self, number, forced):
        job_id = pick(self.model.jobs, number)
        ended = self.model.ended.get(job_id)
        is_refused = ended is not None and ended.status != "cancelled"
        if self.request(control.cancel, job_id, forced=forced, is_refused=is_refused) and not ended:
            self._stop(job_id, StopRequest.CANCEL, Reason.CANCELLED_BY_USER, forced=forced)

    @precondition(lambda self: self.model.jobs)
    @rule(number=which)
    def pause(self, number):
        job_id = pick(self.model.jobs, number)
        is_cancelled = self.model.wanted.get(job_id) == StopRequest.CANCEL
        is_refused = job_id in self.model.ended or is_cancelled
        if self.request(control.pause, job_id, is_refused=is_refused):
            self._stop(job_id, StopRequest.PAUSE, Reason.PAUSED_BY_USER)

    def _stop(self, job_id, request, reason, *, forced=False):
        self.model.wanted[job_id] = request
        self.may_end = {reason}  # where nobody has begun
        if attempt := self.model.live_attempt(job_id):
            attempt.request_stop(reason, forced=forced)

    @precondition(lambda self: self.model.jobs)
    @rule(number=which)
    def resume(self, number):
        job_id = pick(self.model.jobs, number)
        is_wanted = job_id not in self.model.wanted
        is_stopping = not is_wanted and self.model.live_attempt(job_id) is not None
        is_refused = job_id in self.model.ended or is_stopping
        if self.request(control.resume, job_id, is_refused=is_refused):
            self.model.wanted.pop(job_id, None)

    @precondition(lambda self: self.model.jobs)
    @rule(number=which, priority=st.integers(0, 100))
    def change_priority(self, number, priority):
        job_id = pick(self.model.jobs, number)

        async def change(session, job_id):
            job = await jobs.find(session, job_id, lock=True)
            control.change(session, job, {"priority": priority})

        self.request(change, job_id, is_refused=job_id in self.model.ended)

    @precondition(lambda self: self.model.checkpoints and len(self.model.jobs) < MAX_JOBS)
    @rule(number=which)
    def fork(self, number):
        job_id, _ = pick(list(self.model.checkpoints.values()), number)
        query = "SELECT id FROM checkpoints WHERE job_id = :job_id AND status = 'committed'"

        async def fork():
            async with self.database.transaction() as session:
                return await fork_job(session, job_id, ForkOptions(), project="default")

        if self.do(rows(self.database, query, job_id=job_id)):
            self.model.jobs.append(self.do(fork()).id)
        else:
            self.fails(Conflict, fork())

    @precondition(lambda self: self.model.checkpoints)
    @rule(number=which, pinned=st.booleans())
    def pin(self, number, pinned):
        checkpoint_id = pick(list(self.model.checkpoints), number)
        if pinned:
            self.request(
                checkpoints.pin, checkpoint_id, is_refused=checkpoint_id in self.model.marked
            )
        else:
            self.request(checkpoints.unpin, checkpoint_id)

    @rule(number=which, cordoned=st.sampled_from([False, False, True]))
    def cordon(self, number, cordoned):
        self.request(nodes.cordon, pick(self.node_ids, number), cordoned=cordoned)

    @rule(number=which)
    def drain(self, number):
        node_id = pick(self.node_ids, number)
        self.request(nodes.cordon, node_id, cordoned=True)
        query = "SELECT attempt_id FROM members WHERE node_id = :node_id AND status <> 'finished'"
        drained = self.do(rows(self.database, query, node_id=node_id))
        self.request(control.drain, node_id)
        for (attempt_id,) in drained:
            self.model.attempts[attempt_id].request_stop(Reason.DRAINED)
        self.may_end = {Reason.DRAINED}
