"""Where the time of a run went."""

from dataclasses import dataclass

from mmsearch.loader import LoadSeconds

__all__ = ["StageTime", "StageTimes", "StageClock"]


@dataclass(frozen=True, slots=True)
class StageTime:
    """One stage. seconds: of work, added up over all that do it at the same time. share: of all stages' seconds."""

    name: str
    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class StageTimes:
    """read, decode, resize, transfer, encode and write, in this order, and commit where others wrote; and the one that
    would have to be faster for the run to be, None where no picture was encoded. Where a GPU
    decoded, `decode on the GPU` is a stage too. decoded_on_*: how many pictures were decoded where."""

    stages: tuple[StageTime, ...] = ()
    bottleneck: str | None = None
    decoded_on_cpu: int = 0
    decoded_on_gpu: int = 0


@dataclass(slots=True)
class StageClock:
    """Adds up.

    threads: that load. lanes: that encode; 0 where both are done by the same threads (CPU). writers: of shards.
    commit: by the one that commits, where others write the shards. gpu_decoders: that decode on a GPU beside the
    threads; gpu_decode: their seconds.
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
    commit: float = 0.0
    gpu_decode: float = 0.0
    gpu_decoders: int = 0
    decoded_on_cpu: int = 0
    decoded_on_gpu: int = 0

    def join(self, other: "StageClock") -> None:
        """Add the seconds of another, who works at the same time or had its turn."""
        for name in ("read", "decode", "resize", "transfer", "encode", "write", "commit", "gpu_decode"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("threads", "lanes", "writers", "gpu_decoders"):
            setattr(self, name, max(getattr(self, name), getattr(other, name)))
        self.decoded_on_cpu += other.decoded_on_cpu
        self.decoded_on_gpu += other.decoded_on_gpu

    def add(self, seconds: LoadSeconds) -> None:
        """One file's."""
        self.read += seconds.read
        self.decode += seconds.decode
        self.resize += seconds.resize

    def times(self) -> StageTimes:
        """The bottleneck is the longest stage of those who had least time to spare."""
        loading = {"read": self.read, "decode": self.decode, "resize": self.resize}
        by_gpu = {"decode on the GPU": self.gpu_decode} if self.gpu_decoders else {}
        encoding = {"transfer": self.transfer, "encode": self.encode}
        writing = {"write": self.write}
        committing = {"commit": self.commit} if self.commit else {}
        if self.encode <= 0:
            return StageTimes()
        teams = [(loading, self.threads), (encoding, self.lanes), (writing, self.writers), (committing, 1)]
        teams += [(by_gpu, self.gpu_decoders)] if by_gpu else []
        if not self.lanes:
            teams = [(loading | encoding, self.threads), (writing, self.writers), (committing, 1)]
        busiest, _ = max(teams, key=lambda team: sum(team[0].values()) / team[1])
        all_of_them = loading | by_gpu | encoding | writing | committing
        total = sum(all_of_them.values())
        stages = tuple(StageTime(name, seconds, seconds / total) for name, seconds in all_of_them.items())
        bottleneck = max(busiest, key=lambda name: busiest[name])
        return StageTimes(stages, bottleneck, self.decoded_on_cpu, self.decoded_on_gpu)
