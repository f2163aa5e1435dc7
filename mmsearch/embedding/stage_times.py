"""Measures how much time of a run each stage took."""

from dataclasses import dataclass

from mmsearch.loading import LoadSeconds

__all__ = ["StageTime", "StageTimes", "StageClock"]


@dataclass(frozen=True, slots=True)
class StageTime:
    """The time of one stage.

    Attributes:
        seconds: of work, summed over all threads that do it at the same time.
        share: of the seconds of all stages.
    """

    name: str
    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class StageTimes:
    """The times of all stages.

    Attributes:
        stages: read, decode, resize, transfer, encode and write, in this order; `decode on the GPU` where a GPU
            decoded; compare where a sample went by the exact route too; commit where workers of a cluster wrote the
            shards.
        bottleneck: the stage that would have to be faster for the run to be faster; None where nothing was encoded.
        decoded_on_cpu, decoded_on_gpu: how many pictures were decoded where.
    """

    stages: tuple[StageTime, ...] = ()
    bottleneck: str | None = None
    decoded_on_cpu: int = 0
    decoded_on_gpu: int = 0


@dataclass(slots=True)
class StageClock:
    """Sums the seconds of each stage.

    Attributes:
        threads: how many threads load.
        lanes: how many encode; 0 where the loading threads encode too (CPU).
        writers: how many write shards.
        compare: loading and encoding the sample by the exact route, which other stages do not count.
        commit: seconds of the process that commits, where workers of a cluster write the shards.
        gpu_decoders, gpu_decode: how many threads decode on a GPU beside the others, and their seconds.
    """

    threads: int = 1
    lanes: int = 0
    writers: int = 1
    read: float = 0.0
    decode: float = 0.0
    resize: float = 0.0
    transfer: float = 0.0
    encode: float = 0.0
    write: float = 0.0
    compare: float = 0.0
    commit: float = 0.0
    gpu_decode: float = 0.0
    gpu_decoders: int = 0
    decoded_on_cpu: int = 0
    decoded_on_gpu: int = 0

    def join(self, other: "StageClock") -> None:
        """Add another clock, of work done at the same time or before."""
        for name in ("read", "decode", "resize", "transfer", "encode", "write", "compare", "commit", "gpu_decode"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("threads", "lanes", "writers", "gpu_decoders"):
            setattr(self, name, max(getattr(self, name), getattr(other, name)))
        self.decoded_on_cpu += other.decoded_on_cpu
        self.decoded_on_gpu += other.decoded_on_gpu

    def add(self, seconds: LoadSeconds) -> None:
        """Add the seconds of one file."""
        self.read += seconds.read
        self.decode += seconds.decode
        self.resize += seconds.resize

    def times(self) -> StageTimes:
        """The times so far. The bottleneck is the longest stage of the group of threads that was busiest."""
        loading = {"read": self.read, "decode": self.decode, "resize": self.resize}
        by_gpu = {"decode on the GPU": self.gpu_decode} if self.gpu_decoders else {}
        encoding = {"transfer": self.transfer, "encode": self.encode}
        writing = {"write": self.write}
        comparing = {"compare": self.compare} if self.compare else {}
        committing = {"commit": self.commit} if self.commit else {}
        if self.encode <= 0:
            return StageTimes()
        teams = [(loading, self.threads), (encoding, self.lanes), (writing, self.writers), (committing, 1)]
        teams += [(by_gpu, self.gpu_decoders)] if by_gpu else []
        if not self.lanes:
            teams = [(loading | encoding, self.threads), (writing, self.writers), (committing, 1)]
        busiest, _ = max(teams, key=lambda team: sum(team[0].values()) / team[1])
        all_stages = loading | by_gpu | encoding | comparing | writing | committing
        total = sum(all_stages.values())
        stages = tuple(StageTime(name, seconds, seconds / total) for name, seconds in all_stages.items())
        bottleneck = max(busiest, key=lambda name: busiest[name])
        return StageTimes(stages, bottleneck, self.decoded_on_cpu, self.decoded_on_gpu)
