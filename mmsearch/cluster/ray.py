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

from mmsearch.cluster.dispatcher import WorkerEvent, WorkerResources
from mmsearch.errors import ClusterError

__all__ = ["RayWorkerPool", "is_address"]

# More threads than this wait for Python's lock rather than decode; a machine with more cores gets several workers.
_MOST_THREADS = 8
_LOOK_EVERY = 5.0  # seconds between two looks at which machines there are
_ANSWER_SECONDS = 10.0
_OWN_STORE = 256 << 20  # bytes for objects of a cluster that is started here: pieces are small
_LEAST_ADDRESS_SPACE = 3 << 30
"""Bytes of address space that each process needs. With less, a cluster that is started here never answers and does not
say why. Ray 2.60 started with this much; what workers load comes on top of it."""


# Run by a second interpreter: it says why ours ended, unless ours writes to it first.
_NOTICE_PROGRAM = "import sys\nif not sys.stdin.read(): print(sys.argv[1], file=sys.stderr)"
_EXIT_NOTICE = (
    "mmsearch: error: this process was ended from outside: by Ray, where its node on this machine has died. What was "
    "committed is kept; see to the cluster, and run the same command again"
)


@dataclass(slots=True)
class _RayWorker:
    actor: Any
    node: str
    slot: int  # among the workers of its node


class RayWorkerPool:
    """One worker for each GPU of a cluster; where it has no GPU, one for each group of its processors.

    Machines may join and leave at any time.

    address: "auto" for the cluster that this machine belongs to, "local" for one that lives as long as this object,
    "host:port" or "ray://host:port"; None for "auto" where there is one, else "local".
    make: called once in each worker with the resources of that worker. It returns an object that has an attribute
    `info` and that is called with a piece and with the value that `share` was last given.
    threads: of each worker. gpus: whether to use them.
    Raises ClusterError.
    """

    def __init__(
        self,
        address: str | None,
        make: Callable[[WorkerResources], Any],
        *,
        threads: int | None = None,
        gpus: bool = True,
        announce: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ray, self._own = _connect(address, announce)
        self._exit_notice = _start_exit_notice()
        self._make, self._threads, self._gpus = make, threads, gpus
        self._workers: dict[int, _RayWorker] = {}
        self._addresses: dict[int, str] = {}
        self._started = 0
        self._pending: dict[Any, tuple[int, int]] = {}  # future -> worker, token
        self._shared: Any = self._ray.put(None)
        self._refreshed_at = float("-inf")
        self._nodes: dict[str, dict[str, Any]] = {}
        try:
            self._refresh_nodes()
            self._actor_class = _actor_class(self._ray)
            if not any(self._divide_node(node) for node in self._nodes.values()):
                wanted = "processors or GPUs" if gpus else "processors"
                raise ClusterError(f"the Ray cluster has no machine with {wanted} to give: {self.describe_machines()}")
        except BaseException:
            self.close()
            raise

    def describe_machines(self) -> str:
        """A line that lists the machines of the cluster."""
        machines = []
        for node in self._nodes.values():
            cpus, gpus = (int(node["Resources"].get(resource, 0)) for resource in ("CPU", "GPU"))
            machines.append(f"{node['NodeManagerAddress']} ({cpus} CPUs, {gpus} GPUs)")
        return ", ".join(machines[:5]) + (f" and {len(machines) - 5} more" if len(machines) > 5 else "") or "no machine"

    def share(self, value: Any) -> None:
        """Set the value that every worker is called with from now on, beside its piece. Each machine keeps one copy."""
        self._shared = self._ray.put(value)

    def start_workers(self) -> Sequence[int]:
        """See `WorkerPool`."""
        if time.monotonic() - self._refreshed_at > _LOOK_EVERY:
            self._refresh_nodes()
        taken = {(ray_worker.node, ray_worker.slot) for ray_worker in self._workers.values()}
        started = []
        for node, description in self._nodes.items():
            for slot, resources in enumerate(self._divide_node(description)):
                if (node, slot) not in taken:
                    started.append(self._start_worker(node, slot, resources))
        return started

    def _start_worker(self, node: str, slot: int, resources: WorkerResources) -> int:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        number, self._started = self._started, self._started + 1
        actor = self._actor_class.options(
            num_cpus=resources.threads,
            num_gpus=int(resources.gpu),
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        ).remote()
        self._workers[number] = _RayWorker(actor, node, slot)
        self._addresses[number] = str(self._nodes[node]["NodeManagerAddress"])
        self._pending[actor.begin.remote(self._make, resources)] = (number, -1)
        return number

    def assign(self, worker: int, token: int, piece: Any) -> None:
        """See `WorkerPool`."""
        self._pending[self._workers[worker].actor.work.remote(piece, self._shared)] = (worker, token)

    def wait_for_events(self, seconds: float) -> Sequence[WorkerEvent]:
        """See `WorkerPool`."""
        if not self._pending:
            time.sleep(seconds)
            return []
        futures = list(self._pending)
        self._ray.wait(futures, num_returns=1, timeout=seconds)
        finished, _ = self._ray.wait(futures, num_returns=len(futures), timeout=0)
        events = []
        for future in sorted(finished, key=lambda future: self._pending[future]):
            if future in self._pending:  # an event before this one may have said that the worker ended
                events.append(self._to_event(future, *self._pending.pop(future)))
        return events

    def _to_event(self, future: Any, worker: int, token: int) -> WorkerEvent:
        try:
            value = self._ray.get(future)
        except self._ray.exceptions.RayActorError as error:
            ray_worker = self._workers[worker]
            self.stop_worker(worker)
            self._refresh_nodes()
            gone = ray_worker.node not in self._nodes or "node has died" in str(error)
            return WorkerEvent("gone" if gone else "ended", worker, _one_line(error), token)
        except self._ray.exceptions.RayTaskError as error:
            return WorkerEvent("failed", worker, error.cause if isinstance(error.cause, Exception) else error, token)
        except self._ray.exceptions.RayError as error:
            return WorkerEvent("failed", worker, ClusterError(f"{self.machine_of(worker)}: {_one_line(error)}"), token)
        return WorkerEvent("ready" if token < 0 else "done", worker, value, token)

    def stop_worker(self, worker: int) -> None:
        """See `WorkerPool`."""
        ray_worker = self._workers.pop(worker)
        self._pending = {future: pending for future, pending in self._pending.items() if pending[0] != worker}
        self._ray.kill(ray_worker.actor, no_restart=True)

    def machine_of(self, worker: int) -> str:
        """See `WorkerPool`."""
        return self._addresses[worker]

    def close(self) -> None:
        """See `WorkerPool`. Leaves the cluster, and ends it where it was started here."""
        try:
            for worker in list(self._workers):
                self.stop_worker(worker)
            if self._own:
                self._ray.shutdown()
        finally:
            self._exit_notice.communicate(b"all is well")

    def _refresh_nodes(self) -> None:
        self._refreshed_at = time.monotonic()
        self._nodes = {node["NodeID"]: node for node in self._ray.nodes() if node["Alive"]}

    def _divide_node(self, node: dict[str, Any]) -> list[WorkerResources]:
        cpus, gpus = (int(node["Resources"].get(resource, 0)) for resource in ("CPU", "GPU"))
        if self._gpus and any(other["Resources"].get("GPU", 0) >= 1 for other in self._nodes.values()):
            return [WorkerResources(self._threads or max(1, cpus // gpus), gpu=True)] * gpus if gpus else []
        if self._threads:
            return (
                [WorkerResources(min(self._threads, cpus), gpu=False)] * max(1, cpus // self._threads) if cpus else []
            )
        workers = -(-cpus // _MOST_THREADS)
        return [WorkerResources(cpus // workers + (slot < cpus % workers), gpu=False) for slot in range(workers)]


def _start_exit_notice() -> "subprocess.Popen[bytes]":
    """Start a process that says why this one ended, where Ray ends it.

    Ray does so from its own code when its node on this machine has died. No code of ours runs then, and the last line
    on stderr would be one of Ray's.
    """
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _NOTICE_PROGRAM, _EXIT_NOTICE],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for this process, which tells it
    )


def is_address(text: str) -> bool:
    """Whether this names a Ray cluster rather than a file."""
    host, colon, port = text.removeprefix("ray://").rpartition(":")
    return text in ("auto", "local") or bool(host and colon and port.isdecimal() and "/" not in host)


def _connect(address: str | None, announce: Callable[[str], None]) -> tuple[Any, bool]:
    """Connect to a cluster. Returns Ray, and whether this process has to disconnect at the end."""
    # Before it is imported: it sends nothing home, and leaves to the workers which devices they see.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    named = bool(address and address not in ("auto", "local"))
    if named and (os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")):
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
            raise _connection_error(where, error, named=named) from error
        # Ray prints news of its machines to stdout, which is for results; it has no public option against that.
        untyped._private.worker._worker_logs_enabled = False
        announce("started a Ray cluster of this machine" if where == "local" else "connected to a Ray cluster")
        return untyped, True
    raise AssertionError("unreachable")


def _connection_error(where: str, error: Exception, *, named: bool) -> ClusterError:
    refused = "auth" in type(error).__name__.lower()
    if refused or (named and str(error).startswith("Failed to connect")):
        # A cluster answers there. That a token is missing or wrong Ray writes only to its log.
        token = "with the token that was given" if os.environ.get("RAY_AUTH_MODE") == "token" else "without a token"
        return ClusterError(
            f"the Ray cluster at {where} did not let us in {token} ({_one_line(error)[:100]}). Clusters ask for one "
            "where Ray's token authentication is on: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to what "
            "~/.ray/auth_token holds on the machine that started it, unless the same stands in yours"
        )
    return ClusterError(f"no Ray cluster at {where}: {_one_line(error)}")


def _require_address_space() -> None:
    """Raise ClusterError where this shell bounds the address space of processes to less than Ray's need."""
    if sys.platform == "win32":
        return
    import resource

    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY and allowed < _LEAST_ADDRESS_SPACE:
        raise ClusterError(
            f"this shell gives a process {allowed / 2**30:.1f} GiB of address space, and a Ray cluster of this machine "
            f"needs {_LEAST_ADDRESS_SPACE >> 30} GiB and more for each: raise the limit (ulimit -v), or leave --ray out"
        )


def _require_answer(address: str) -> None:
    """Raise OSError where nobody answers at host:port: Ray itself would go on trying for ten minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS):
            pass


def _actor_class(ray: Any) -> Any:
    @ray.remote(max_restarts=0, max_task_retries=0)
    class Worker:
        def begin(self, make: Callable[[WorkerResources], Any], resources: WorkerResources) -> Any:
            self._worker = make(resources)
            return self._worker.info

        def work(self, piece: Any, shared: Any) -> Any:
            return self._worker(piece, shared)

    return Worker


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
