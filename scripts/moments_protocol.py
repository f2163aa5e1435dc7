"""Whether films and their moments are found: films rendered from postcards, whose scenes and times are known.

    python -m scripts.moments_protocol [--films 30] [--model demo] [--seed 24]

A film is four to eight scenes of 2 to 16 seconds, each a postcard; one scene follows the other by a cut, or by a slow
change of one to three seconds, in whose middle the times of both meet. Each scene is asked for by one caption of it.
The films are embedded by ways of choosing frames, side by side:

    auto             what `embed` does unless it is told otherwise
    as many, uniform as many frames of each film as auto takes, at equal distances
    every=2s, 1s     one in two seconds, which are about as many, and one a second
    12               twelve of each film, at equal distances
    keys             key frames alone

"films" is a row of `eval msrvtt`: R@k of a caption's film among all by its best frame; "moments" one of `eval moments`:
R1 at IoU .5 and mAP of the moments found in the film of the scene. Intervals are those of the commands: the middle 95 %
of bootstrap samples of films.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from mmsearch.embedding import embed
from mmsearch.evaluation import evaluate_films, evaluate_moments
from mmsearch.evaluation.figure_tables import FigureName, FigureRow
from mmsearch.films import choose_frames, read_table
from mmsearch.frame_choice import AUTO_FRAMES
from mmsearch.images import CutOptions
from mmsearch.sources import Selection
from scripts.postcards.captions import describe
from scripts.postcards.render import render
from scripts.postcards.scene import sample_scene

__all__ = ["Shot", "render_film", "sample_film"]

_RATE = 10
_SCENES, _SECONDS, _CHANGE = (4, 8), (2, 16), (1, 3)
_UNIFORM = "as many, uniform"
_WAYS = ("auto", _UNIFORM, "every=2s", "every=1s", "12", "keys")


@dataclass(frozen=True, slots=True)
class Shot:
    """A scene in a film. frame: what is seen. seconds: how long. change: how long it changes into the next; 0 for a
    cut."""

    caption: str
    frame: NDArray[np.uint8]
    seconds: float
    change: float


def sample_film(rng: Random) -> list[Shot]:
    """The scenes of a film, in their order."""
    shots = []
    for _ in range(rng.randint(*_SCENES)):
        scene = sample_scene(rng)
        seconds = round(rng.uniform(*_SECONDS), 1)  # not whole: one frame a second would know where scenes begin
        change = float(rng.randint(*_CHANGE)) if rng.random() < 0.4 else 0.0
        frame = np.asarray(render(scene, rng.randrange(1 << 30)))
        shots.append(Shot(describe(rng, scene, 0.9).text, frame, seconds, min(change, seconds)))
    return shots


def render_film(file: Path, shots: list[Shot], seed: int, quality: int = 23) -> list[tuple[float, float]]:
    """Write a film as cameras and editors do (H.264, key frames where the encoder wants them), with noise as of a
    sensor. quality: the CRF of x264. Returns when each scene is seen."""
    noise = np.random.default_rng(seed)
    height, width, _ = shots[0].frame.shape
    ends = np.cumsum([shot.seconds for shot in shots])
    with av.open(str(file), "w") as container:
        stream: Any = container.add_stream("libx264", rate=_RATE, options={"preset": "veryfast", "crf": str(quality)})
        stream.width, stream.height, stream.pix_fmt = width - width % 2, height - height % 2, "yuv420p"
        for number in range(round(float(ends[-1]) * _RATE)):
            pixels = _seen(shots, ends, number / _RATE) + noise.normal(0, 2, (height, width, 1))
            frame = av.VideoFrame.from_ndarray(np.clip(pixels, 0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame.reformat(stream.width, stream.height)))
        container.mux(stream.encode(None))
    return [*zip([0.0, *ends[:-1].tolist()], ends.tolist(), strict=True)]


def _seen(shots: list[Shot], ends: NDArray[np.float64], seconds: float) -> NDArray[np.float64]:
    """The frame at a time, between two scenes a mixture of both."""
    place = min(int(np.searchsorted(ends, seconds, side="right")), len(shots) - 1)
    frame = shots[place].frame.astype(np.float64)
    for one, border in ((place - 1, place), (place, place + 1)):
        if one >= 0 and border < len(shots) and shots[one].change:
            share = (seconds - ends[one]) / shots[one].change + 0.5  # of the second scene
            if 0 < share < 1:
                first, second = shots[one].frame.astype(np.float64), shots[border].frame.astype(np.float64)
                mixed: NDArray[np.float64] = (1 - share) * first + share * second
                return mixed
    return frame


def _embed(files: list[Path], way: str, gallery: Path, model: str) -> None:
    """All films by a way of choosing frames."""
    if way != _UNIFORM:
        embed([files[0].parent], gallery=gallery, encoder=model, selection=Selection(cuts=CutOptions(frames=way)))
        return
    by_count: dict[int, list[Path]] = {}
    for file in files:
        by_count.setdefault(len(choose_frames(read_table(str(file)), AUTO_FRAMES)), []).append(file)
    for count, some in by_count.items():
        embed([*some], gallery=gallery, encoder=model, selection=Selection(cuts=CutOptions(frames=str(count))))


def _cell(row: FigureRow, name: FigureName) -> str:
    around = row.intervals.get(name)
    interval = "" if around is None else f" ({100 * around.low:.1f} to {100 * around.high:.1f})"
    return f"{100 * row.figures[name]:.1f}{interval}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=30)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--seed", type=int, default=24)
    asked = parser.parse_args()
    rng = Random(asked.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "films").mkdir()
        files: list[Path] = []
        captions: list[dict[str, str]] = []
        moments: list[dict[str, Any]] = []
        seconds = 0.0
        for number in range(asked.films):
            file = folder / "films" / f"film{number:03}.mp4"
            shots = sample_film(rng)
            times = render_film(file, shots, number)
            files.append(file)
            seconds += times[-1][1]
            for shot, window in zip(shots, times, strict=True):
                captions.append({"video": file.stem, "caption": shot.caption})
                moments.append({"query": shot.caption, "vid": file.stem, "relevant_windows": [window]})
        (folder / "captions.json").write_text(json.dumps(captions))
        (folder / "moments.jsonl").write_text("\n".join(map(json.dumps, moments)))
        print(f"{len(files)} films, {len(captions)} scenes, {seconds:.0f} s")
        print("frames | frames a film | films R@1 | R@5 | R1@.5 | R1@.7 | mAP")
        for way in _WAYS:
            gallery = folder / way.replace(" ", "-")
            _embed(files, way, gallery, asked.model)
            films = evaluate_films([gallery], annotations=folder / "captions.json").tables[0].rows[0]
            found = evaluate_moments([gallery], annotations=folder / "moments.jsonl").tables[0].rows[0]
            cells = [_cell(films, ("text_to_image", name)) for name in ("R@1", "R@5")]
            cells += [_cell(found, ("", name)) for name in ("R1@.5", "R1@.7", "mAP")]
            print(" | ".join([way, f"{films.counts['frames'] / len(files):.1f}", *cells]), flush=True)


if __name__ == "__main__":
    main()
