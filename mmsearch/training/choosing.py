"""How much of what was trained is kept: validation pairs choose, among what keeps enough of what the model knew."""

from dataclasses import dataclass

from mmsearch.progress import Progress, ProgressCallback
from mmsearch.training.guards import choose_alpha, compare, deciding_figure, judge, notice_problems
from mmsearch.training.records import AlphaPoint, Trained, TrainingPairs
from mmsearch.training.retention import Retention

__all__ = ["Chosen", "choose"]


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Attributes:
    trained: What was trained.
    alpha: The share of the training that is kept, 0 for nothing.
    curve: What each share gains and loses.
    problems: What is wrong with the training, for people.
    decided_by: The figure that decides.
    """

    trained: Trained
    alpha: float
    curve: tuple[AlphaPoint, ...]
    problems: tuple[str, ...]
    decided_by: str

    @property
    def gain(self) -> float:
        """On validation pairs."""
        of_alpha = {point.alpha: point.new for point in self.curve}
        return of_alpha[self.alpha] - of_alpha[0.0]


def choose(trained: Trained, validation: TrainingPairs, known: Retention, progress: ProgressCallback) -> Chosen:
    """The share of a training that is best on validation pairs, 0 where none is surely better than nothing."""
    before = trained.vectors(0.0, validation)
    problems = notice_problems(trained.log, before, trained.vectors(1.0, validation))
    done = 0

    def new(alpha: float) -> float:
        nonlocal done
        progress(Progress("between before and after", done, None))
        done += 1
        return deciding_figure(trained.vectors(alpha, validation), validation)

    alpha, curve = choose_alpha(new, lambda alpha: known.kept(trained, alpha), most_lost=known.most_lost)
    change = compare("validation pairs", before, trained.vectors(alpha, validation), validation)
    if judge(change) != "better":
        alpha = 0.0
    return Chosen(trained, alpha, curve, problems, change.decided_by)
