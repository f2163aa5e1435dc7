"""Workers as actors of a Ray cluster. The only module that knows Ray."""

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mmsearch.cluster.dispatch import Happened, Share
from mmsearch.errors import ClusterError

__all__ = ["RayCrew", "is_address"]

# More threads than this wait for Python's lock rather than decode; a machine with more cores gets several workers.
_MOST_THREADS = 8
_LOOK_EVERY = 5.0  # seconds between two looks at which machines there are
_ANSWER_SECONDS = 10.0
_OWN_STORE = 256 << 20  # bytes for objects of a cluster that is started here: pieces are small
_LEAST_ADDRESSES = 3 << 30
"""Bytes of address space of each process, below which a cluster that is started here never answers, without a word of
why. Ray 2.60 started with this much; what workers load comes on top of it."""


# Run by an interpreter that says why ours ended, unless it is told first that all is well.
_LAST_WORD = "import sys\nif not sys.stdin.read(): print(sys.argv[1], file=sys.stderr)"
_ENDED = (
    "mmsearch: error: this process was ended from outside: by Ray, where its node on this machine has died. What was "
    "committed is kept; see to the cluster, and run the same command again"
)


@dataclass(slots=True)
class _Member:
    actor: Any
    node: str
    place: int  # among the workers of its node


class RayCrew:
    """A worker for each GPU of a cluster, or where it has none for each share of its processors.

    Machines that join are used, machines that leave are done without.

    address: "auto" for the cluster that this machine belongs to, "local" for one that lives as long as this object,
    "host:port" or "ray://host:port"; None for "auto" where there is one, else "local".
    make: called once in each worker, with its share of the machine; what it returns answers `introduction` and is
    called with a piece and what `share` was last given. threads: a worker. gpus: whether to use them.
    Raises ClusterError.
    """

    def __init__(
        self,
        address: str | None,
        make: Callable[[Share], Any],
        *,
        threads: int | None = None,
        gpus: bool = True,
        announce: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ray, self._own = _connected(address, announce)
        self._last_word = _begin_last_word()
        self._make, self._threads, self._gpus = make, threads, gpus
        self._members: dict[int, _Member] = {}
        self._where: dict[int, str] = {}
        self._hired = 0
        self._pending: dict[Any, tuple[int, int]] = {}  # future -> worker, token
        self._shared: Any = self._ray.put(None)
        self._looked = float("-inf")
        self._nodes: dict[str, dict[str, Any]] = {}
        try:
            self._look()
            self._actor = _actor(self._ray)
            if not any(self._shares(node) for node in self._nodes.values()):
                what = "processors or GPUs" if gpus else "processors"
                raise ClusterError(f"the Ray cluster has no machine with {what} to give: {self.described()}")
        except BaseException:
            self.close()
            raise

    def described(self) -> str:
        """Which machines there are, in a line."""
        found = []
        for node in self._nodes.values():
            cpus, gpus = (int(node["Resources"].get(kind, 0)) for kind in ("CPU", "GPU"))
            found.append(f"{node['NodeManagerAddress']} ({cpus} CPUs, {gpus} GPUs)")
        return ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "") or "no machine"

    def share(self, value: Any) -> None:
        """What every worker is called with from now on, beside its piece; kept once a machine."""
        self._shared = self._ray.put(value)

    def hire(self) -> Sequence[int]:
        """See `Crew`."""
        if time.monotonic() - self._looked > _LOOK_EVERY:
            self._look()
        taken = {(member.node, member.place) for member in self._members.values()}
        new = []
        for node, facts in self._nodes.items():
            for place, share in enumerate(self._shares(facts)):
                if (node, place) not in taken:
                    new.append(self._hire_one(node, place, share))
        return new

    def _hire_one(self, node: str, place: int, share: Share) -> int:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        number, self._hired = self._hired, self._hired + 1
        actor = self._actor.options(
            num_cpus=share.threads,
            num_gpus=int(share.gpu),
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        ).remote()
        self._members[number] = _Member(actor, node, place)
        self._where[number] = str(self._nodes[node]["NodeManagerAddress"])
        self._pending[actor.begin.remote(self._make, share)] = (number, -1)
        return number

    def hand(self, worker: int, token: int, piece: Any) -> None:
        """See `Crew`."""
        self._pending[self._members[worker].actor.work.remote(piece, self._shared)] = (worker, token)

    def happened(self, seconds: float) -> Sequence[Happened]:
        """See `Crew`."""
        if not self._pending:
            time.sleep(seconds)
            return []
        futures = list(self._pending)
        self._ray.wait(futures, num_returns=1, timeout=seconds)
        finished, _ = self._ray.wait(futures, num_returns=len(futures), timeout=0)
        news = []
        for future in sorted(finished, key=lambda future: self._pending[future]):
            if future in self._pending:  # not, where its worker ended
                news.append(self._news(future, *self._pending.pop(future)))
        return news

    def _news(self, future: Any, worker: int, token: int) -> Happened:
        try:
            value = self._ray.get(future)
        except self._ray.exceptions.RayActorError as error:
            member = self._members[worker]
            self.dismiss(worker)
            self._look()
            gone = member.node not in self._nodes or "node has died" in str(error)
            return Happened("gone" if gone else "ended", worker, _in_a_line(error), token)
        except self._ray.exceptions.RayTaskError as error:
            return Happened("failed", worker, error.cause if isinstance(error.cause, Exception) else error, token)
        except self._ray.exceptions.RayError as error:
            return Happened("failed", worker, ClusterError(f"{self.where(worker)}: {_in_a_line(error)}"), token)
        return Happened("ready" if token < 0 else "done", worker, value, token)

    def dismiss(self, worker: int) -> None:
        """See `Crew`."""
        member = self._members.pop(worker)
        self._pending = {future: owed for future, owed in self._pending.items() if owed[0] != worker}
        self._ray.kill(member.actor, no_restart=True)

    def where(self, worker: int) -> str:
        """See `Crew`."""
        return self._where[worker]

    def close(self) -> None:
        """See `Crew`. Leaves the cluster, and ends it where it was started here."""
        try:
            for worker in list(self._members):
                self.dismiss(worker)
            if self._own:
                self._ray.shutdown()
        finally:
            self._last_word.communicate(b"all is well")

    def _look(self) -> None:
        self._looked = time.monotonic()
        self._nodes = {node["NodeID"]: node for node in self._ray.nodes() if node["Alive"]}

    def _shares(self, node: dict[str, Any]) -> list[Share]:
        cpus, gpus = (int(node["Resources"].get(kind, 0)) for kind in ("CPU", "GPU"))
        if self._gpus and any(each["Resources"].get("GPU", 0) >= 1 for each in self._nodes.values()):
            return [Share(self._threads or max(1, cpus // gpus), gpu=True)] * gpus if gpus else []
        if self._threads:
            return [Share(min(self._threads, cpus), gpu=False)] * max(1, cpus // self._threads) if cpus else []
        workers = -(-cpus // _MOST_THREADS)
        return [Share(cpus // workers + (place < cpus % workers), gpu=False) for place in range(workers)]


def _begin_last_word() -> "subprocess.Popen[bytes]":
    """A process that has the last word where Ray ends this one.

    Ray does so from its own code when its node on this machine has died: nothing of ours runs then, and the last line
    would be one of Ray's.
    """
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _LAST_WORD, _ENDED],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for this process, which tells it
    )


def is_address(text: str) -> bool:
    """Whether this names a Ray cluster rather than a file."""
    host, colon, port = text.removeprefix("ray://").rpartition(":")
    return text in ("auto", "local") or bool(host and colon and port.isdecimal() and "/" not in host)


def _connected(address: str | None, announce: Callable[[str], None]) -> tuple[Any, bool]:
    """Ray, connected, and whether that is ours to end."""
    # Before it is imported: it sends nothing home, and leaves to the workers which devices they see.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    given = bool(address and address not in ("auto", "local"))
    if given and (os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")):
        # Ray does so itself for the cluster of this machine, and leaves it out where an address is given. A token in
        # ~/.ray, which Ray makes for clusters of its own, is sent nowhere unasked, and workers of others die of it.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise ClusterError(f"--ray needs Ray, which is not installed ({error}): pip install 'mmsearch[ray]'") from error
    untyped: Any = ray  # its annotations do not cover what is used here
    if ray.is_initialized():
        return untyped, False
    quietly = {"log_to_driver": False, "logging_level": logging.ERROR}
    own = {"include_dashboard": False, "object_store_memory": _OWN_STORE}
    for where in [address] if address else ["auto", "local"]:
        if where == "local":
            _require_address_space()
        try:
            _require_answer(where)
            untyped.init(address=where, **quietly, **(own if where == "local" else {}))
        except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
            if address is None and where == "auto" and isinstance(error, ConnectionError):
                continue
            raise _not_connected(where, error, given=given) from error
        # Ray prints what befalls its machines to stdout, which is for results; there is no public way to ask it not to.
        untyped._private.worker._worker_logs_enabled = False
        announce("started a Ray cluster of this machine" if where == "local" else "connected to a Ray cluster")
        return untyped, True
    raise AssertionError("unreachable")


def _not_connected(where: str, error: Exception, *, given: bool) -> ClusterError:
    refused = "auth" in type(error).__name__.lower()
    if refused or (given and str(error).startswith("Failed to connect")):
        # Somebody answers there; that a token is missing or wrong Ray tells only its log.
        token = "with the token that was given" if os.environ.get("RAY_AUTH_MODE") == "token" else "without a token"
        return ClusterError(
            f"the Ray cluster at {where} did not let us in {token} ({_in_a_line(error)[:100]}). Clusters ask for one "
            "where Ray's token authentication is on: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to what "
            "~/.ray/auth_token holds on the machine that started it, unless the same stands in yours"
        )
    return ClusterError(f"no Ray cluster at {where}: {_in_a_line(error)}")


def _require_address_space() -> None:
    """Raise ClusterError where this shell bounds the address space of processes to less than Ray's need."""
    if sys.platform == "win32":
        return
    import resource

    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY and allowed < _LEAST_ADDRESSES:
        raise ClusterError(
            f"this shell gives a process {allowed / 2**30:.1f} GiB of address space, and a Ray cluster of this machine "
            f"needs {_LEAST_ADDRESSES >> 30} GiB and more for each: raise the limit (ulimit -v), or leave --ray out"
        )


def _require_answer(address: str) -> None:
    """Raise OSError where nobody answers at host:port: Ray itself would go on trying for ten minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS):
            pass


def _actor(ray: Any) -> Any:
    @ray.remote(max_restarts=0, max_task_retries=0)
    class Worker:
        def begin(self, make: Callable[[Share], Any], share: Share) -> Any:
            self._worker = make(share)
            return self._worker.introduction

        def work(self, piece: Any, shared: Any) -> Any:
            return self._worker(piece, shared)

    return Worker


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
