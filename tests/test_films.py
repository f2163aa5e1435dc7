"""Films: which frames are chosen, when they are shown, that they are those, and that nothing in a file does harm."""

import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmsearch.errors import ImageError, MmsearchError
from mmsearch.films import (
    FilmFrame,
    FilmLimits,
    FrameTable,
    choose_frames,
    copy_moment,
    open_film,
    read_mp4_table,
    read_table,
)
from mmsearch.films.reading import film_processes
from mmsearch.frame_choice import AUTO_FRAMES, FrameChoice, parse_frames
from tests.rendered_films import HEIGHT, WIDTH, box, number_in, packet_times, render, render_packed, shown_number

STEADY = [number / 25 for number in range(150)]
VARIABLE = np.cumsum([0.0, *np.tile([0.04, 0.1, 0.02, 0.5, 0.03, 3.2], 12)]).tolist()

FILMS: dict[str, dict[str, Any]] = {
    "steady.mp4": {"times": STEADY},
    "variable.mp4": {"times": VARIABLE, "b_frames": 2, "group": 30},
    "b_frames.mp4": {"times": STEADY, "b_frames": 3, "group": 250},
    "open.mp4": {"times": STEADY, "b_frames": 3, "options": {"x264-params": "open-gop=1:scenecut=0"}},
    "hevc.mkv": {"times": STEADY, "codec": "libx265", "options": {"x265-params": "log-level=none"}, "group": 40},
    "fragments.mp4": {"times": STEADY, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "stream.ts": {"times": STEADY, "b_frames": 2},
    "late.ts": {"times": [1000 + each for each in STEADY], "b_frames": 2},
    "old.avi": {"times": STEADY, "codec": "mpeg4"},
    "web.webm": {"times": STEADY, "codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for name, how in FILMS.items():
        render(folder / name, **how)
    return folder


@cache
def read_once(path: Path) -> tuple[FrameTable, list[float], list[FilmFrame]]:
    return frames_of(path)


def frames_of(path: Path, choice: FrameChoice = AUTO_FRAMES) -> tuple[FrameTable, list[float], list[FilmFrame]]:
    table = read_table(str(path))
    times = table.times[choose_frames(table, choice)].tolist()
    with open_film(str(path), times) as film:
        return table, times, list(film.frames)


@pytest.mark.parametrize("name", FILMS)
def test_times_are_those_of_the_packets_and_frames_are_those_of_the_times(films: Path, name: str) -> None:
    table, times, frames = read_once(films / name)
    expected = packet_times(films / name)
    assert set(np.round(table.times, 4)) <= set(np.round(expected, 4))  # open groups leave some out
    if name not in ("open.mp4", "hevc.mkv"):
        np.testing.assert_allclose(table.times, expected, atol=5e-4)
    assert [frame.seconds for frame in frames] == pytest.approx(times, abs=1e-3)
    written = np.array(FILMS[name]["times"])
    for frame in frames:
        number = number_in(frame.pixels)
        # Of one film after the other the numbers follow the times, however far its clock is from 0.
        assert frame.seconds == pytest.approx(written[number] - written[0], abs=0.045)


def test_nothing_is_left_unseen_for_longer_than_two_seconds_but_where_one_frame_stands(films: Path) -> None:
    for name in FILMS:
        table, times, _ = read_once(films / name)
        for before, after in zip(times, [*times[1:], table.end], strict=True):
            between = table.times[(table.times > before) & (table.times < after)]
            if len(between):  # a frame is seen while it is shown, up to a tenth of a second
                assert after - min(between[0], before + 0.1) <= 2.0 + 1e-6


@pytest.mark.parametrize(
    ("rate", "group", "chosen"),
    [
        (30_000 / 1_001, 60, [0]),  # key frames 2.002 seconds apart are enough
        (25, 75, [0, 38]),  # one alone stands in the middle
        (25, 125, [0, 37, 74]),  # the last as early as may be: those before it are all that is decoded
        (25, 250, [0, 50, 100, 150, 199]),
    ],
)
def test_gaps_are_filled_with_as_little_as_needed(rate: float, group: int, chosen: list[int]) -> None:
    numbers = np.arange(3 * group)
    table = FrameTable(numbers / rate, numbers % group == 0, 3 * group / rate)
    expected = [start + number for start in (0, group, 2 * group) for number in chosen]
    assert choose_frames(table, AUTO_FRAMES).tolist() == expected


def test_a_process_reads_one_film_after_the_other(films: Path) -> None:
    film_processes.end()
    with (
        open_film(str(films / "steady.mp4"), [0.0, 4.0]) as film,
        open_film(str(films / "old.avi"), [2.0]) as other,
    ):
        assert [number_in(frame.pixels) for frame in film.frames] == [0, 100]
        assert [number_in(frame.pixels) for frame in other.frames] == [50]
    waiting = [*film_processes._idle]
    assert len(waiting) == 2
    with open_film(str(films / "web.webm"), [1.0]) as film:
        assert [number_in(frame.pixels) for frame in film.frames] == [25]
    assert sorted(map(id, film_processes._idle)) == sorted(map(id, waiting))


def test_a_film_is_read_where_the_process_that_waited_for_it_was_killed(films: Path) -> None:
    film_processes.end()
    with open_film(str(films / "steady.mp4"), [0.0]) as film:
        assert len(list(film.frames)) == 1
    (waiting,) = film_processes._idle
    waiting.kill()
    waiting._process.wait()
    with open_film(str(films / "steady.mp4"), [4.0]) as film:
        assert [number_in(frame.pixels) for frame in film.frames] == [100]


def test_a_process_that_was_not_heard_to_its_end_is_not_asked_again(films: Path) -> None:
    film_processes.end()
    with open_film(str(films / "steady.mp4"), [0.0, 1.0, 2.0, 3.0]) as film:
        assert number_in(next(film.frames).pixels) == 0
    assert not film_processes._idle
    assert film_processes.used == 0


def test_tables_of_mp4_say_what_its_packets_say(films: Path) -> None:
    for name in ("steady.mp4", "variable.mp4", "b_frames.mp4", "open.mp4"):
        with (films / name).open("rb") as file:
            assert read_mp4_table(file) is not None
    for name in ("fragments.mp4", "stream.ts", "web.webm"):
        with (films / name).open("rb") as file:
            assert read_mp4_table(file) is None


@pytest.mark.parametrize(
    ("name", "said"),
    [("variable.mp4", "every=1s"), ("variable.mp4", "every=300ms"), ("b_frames.mp4", "5"), ("stream.ts", "keys")],
)
def test_what_is_asked_for_is_what_is_seen_at_that_time(films: Path, name: str, said: str) -> None:
    choice = parse_frames(said)
    table, times, frames = frames_of(films / name, choice)
    shown = packet_times(films / name)
    if choice.rule == "count":
        wanted: Sequence[float] = [(number + 0.5) * table.end / choice.count for number in range(choice.count)]
    elif choice.rule == "every":
        wanted = np.arange(0, table.end, choice.seconds).tolist()
    else:
        wanted = table.times[table.is_key].tolist()
    seen = sorted({max(each for each in shown if each <= at + 1e-4) for at in wanted})
    assert times == pytest.approx(seen, abs=1e-3)
    numbers = [number_in(frame.pixels) for frame in frames]
    assert numbers == [int(np.argmin(np.abs(np.array(shown) - at))) for at in seen]


def test_of_two_frames_in_a_packet_each_is_seen(tmp_path: Path) -> None:
    """A frame of them comes out with a later packet, which may not be left out."""
    film = render_packed(tmp_path / "divx.avi")
    times = read_table(str(film)).times.tolist()

    def seen(asked: Sequence[float]) -> list[float]:
        with open_film(str(film), asked) as opened:
            return [frame.seconds for frame in opened.frames]

    can_be_seen = seen(times)
    assert len(can_be_seen) > 30
    for first in range(3):
        some = times[first::3]
        assert seen(some) == [each for each in some if each in can_be_seen]


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_films_of_telephones_are_set_upright(tmp_path: Path, degrees: int, turns: int) -> None:
    path = render(tmp_path / "turned.mp4", STEADY[:10], rotation=degrees)
    _, _, frames = frames_of(path)
    expected = np.rot90(shown_number(0), turns)
    assert frames[0].pixels.shape == expected.shape
    assert np.abs(frames[0].pixels.astype(int) - expected).mean() < 8


def test_frames_are_no_larger_than_asked(films: Path) -> None:
    with open_film(str(films / "steady.mp4"), [0.0], FilmLimits(side=48)) as film:
        (frame,) = film.frames
    assert frame.pixels.shape == (48, 48 * WIDTH // HEIGHT, 3)


def test_an_edit_list_cuts_what_it_cuts(tmp_path: Path) -> None:
    path = render(tmp_path / "cut.mp4", STEADY, b_frames=2, group=50)
    data = bytearray(path.read_bytes())
    # The list that every such file has: one edit. It begins a second later now, in the middle of a group.
    place = data.index(b"elst") + 8
    media = int.from_bytes(data[place + 8 : place + 12], "big")
    data[place + 8 : place + 12] = (media + 12_800).to_bytes(4, "big")
    data[place + 4 : place + 8] = (4_000).to_bytes(4, "big")  # four seconds of it
    path.write_bytes(bytes(data))
    table, times, frames = frames_of(path)
    with path.open("rb") as file:
        assert read_mp4_table(file) is not None
    assert table.end == pytest.approx(4.0)
    assert times[0] == 0.0
    assert [number_in(frame.pixels) for frame in frames] == [round((at + 1) * 25) for at in times]
    np.testing.assert_allclose(table.times, [each for each in packet_times(path) if each < 4.0], atol=5e-4)


def test_a_film_that_is_cut_between_two_frames_begins_with_what_it_shows_first(tmp_path: Path) -> None:
    path = render(tmp_path / "cut.mp4", VARIABLE, b_frames=2, group=30)
    data = bytearray(path.read_bytes())
    place = data.index(b"elst") + 8
    media = int.from_bytes(data[place + 8 : place + 12], "big")
    data[place + 8 : place + 12] = (media + 19_200).to_bytes(4, "big")  # a frame is shown from 0.69 to 3.89 s
    path.write_bytes(bytes(data))
    with path.open("rb") as file:
        table = read_mp4_table(file)
    assert table is not None
    expected = packet_times(path)
    np.testing.assert_allclose(table.times, expected[: len(table.times)], atol=5e-4)
    _, times, frames = frames_of(path)
    assert [frame.seconds for frame in frames] == pytest.approx(times, abs=1e-3)
    assert number_in(frames[0].pixels) == 6


@pytest.mark.parametrize("name", ["hevc.mkv", "late.ts", "web.webm", "old.avi"])
def test_a_moment_is_cut_out_of_films_of_all_kinds(films: Path, tmp_path: Path, name: str) -> None:
    import av

    for from_s, to_s in ((0.0, 1.0), (2.0, 4.0)):
        copy_moment(str(films / name), from_s, to_s, tmp_path / name)
        with av.open(str(tmp_path / name)) as cut:
            numbers = [
                number_in(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)) for frame in cut.decode(video=0)
            ]
        first, last = round(from_s * 25), round(to_s * 25) - 1
        assert first - 40 <= numbers[0] <= first  # from the key frame before
        assert numbers[: last + 1 - numbers[0]] == list(range(numbers[0], last + 1))
        assert numbers[-1] <= last + 4


def test_hdr_comes_out_as_sdr_does(tmp_path: Path) -> None:
    import av

    linear = np.array([0.0, 0.2, 0.5, 1.0])  # 1 is reference white
    nits = linear * 203 / 10_000
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128  # SMPTE ST 2084
    signal = ((c1 + c2 * nits**m1) / (1 + c3 * nits**m1)) ** m2
    path = tmp_path / "hdr.mkv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = 16, 9, 9, 1
        frame = av.VideoFrame(128, 64, "yuv420p10le")
        for plane, value in zip(frame.planes, (64 + 876 * signal, np.full(4, 512), np.full(4, 512)), strict=True):
            rows = np.asarray(memoryview(plane)).view(np.uint16).reshape(plane.height, -1)
            rows[:, : plane.width] = np.repeat(np.round(value).astype(np.uint16), plane.width // 4)
        frame.color_trc, frame.color_primaries, frame.colorspace, frame.color_range = 16, 9, 9, 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    _, _, frames = frames_of(path)
    grey = frames[0].pixels[32, 16::32].mean(axis=1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255
    assert np.abs(grey - srgb)[:3].max() < 4  # taken for SDR, white were 146
    assert 235 < grey[3] < 255  # above the knee there is room for what is brighter


def test_of_interlaced_films_one_field_is_seen(tmp_path: Path) -> None:
    import av

    path = tmp_path / "interlaced.ts"
    woven = shown_number(5)
    woven[1::2] = 255 - woven[1::2]  # the other field is of another moment
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg2video", rate=25, options={"flags": "+ildct+ilme", "qscale": "2"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv422p"
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(woven, format="rgb24").reformat(format="yuv422p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    _, _, frames = frames_of(path)
    assert frames[0].pixels.shape == (HEIGHT, WIDTH, 3)
    assert number_in(frames[0].pixels) == 5
    assert np.abs(frames[0].pixels[:40].astype(int) - shown_number(5)[:40]).mean() < 25


# What strangers send.


def test_a_truncated_film_gives_what_is_there(films: Path, tmp_path: Path) -> None:
    whole = (films / "hevc.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(whole[: len(whole) // 2])
    table, times, frames = frames_of(tmp_path / "a.mkv")
    assert 1 < table.end < 5
    assert table.damage is not None
    assert table.damage.startswith("truncated film")
    assert len(frames) >= len(times) - 1
    assert [number_in(frame.pixels) for frame in frames] == [round(frame.seconds * 25) for frame in frames]


def test_a_truncated_mp4_gives_what_is_there(tmp_path: Path) -> None:
    path = render(tmp_path / "a.mp4", STEADY, container_options={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    table, times, frames = frames_of(path)
    assert table.damage is not None
    assert table.damage.startswith("truncated film")
    assert "of 6 seconds" in table.damage
    assert 1 < table.end < 5.5
    assert [number_in(frame.pixels) for frame in frames] == [round(at * 25) for at in times][: len(frames)]
    assert len(frames) >= len(times) - 1


def test_a_mp4_without_its_tables_says_so(films: Path, tmp_path: Path) -> None:
    data = (films / "steady.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(data[: len(data) // 2])  # they stand at its end
    with pytest.raises(ImageError, match="cut before its table of frames"):
        read_table(str(tmp_path / "a.mp4"))


def sound_with_cover(path: Path) -> None:
    import av

    with av.open(str(path), "w") as container:
        sound: Any = container.add_stream("aac", rate=44_100)
        cover: Any = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        frame.pts = 0
        container.mux(cover.encode(frame))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        samples.sample_rate, samples.pts = 44_100, 0
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty.mp4", b"", "empty file"),
        ("text.mp4", b"no film at all\n" * 1000, "not a film that can be opened"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n", "not a film that can be opened"),
        ("head.mp4", box(b"ftyp", b"isom\0\0\2\0isom"), "not a film that can be opened"),
    ],
)
def test_what_is_no_film_is_told_in_a_line(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ImageError, match=reason):
        read_table(str(tmp_path / name))


def test_a_film_that_begins_behind_its_only_key_frame_says_so(tmp_path: Path) -> None:
    data = render(tmp_path / "a.ts", STEADY, group=250).read_bytes()
    (tmp_path / "a.ts").write_bytes(data[188 * (len(data) // 188 // 2) :])
    with pytest.raises(ImageError, match="a film without a key frame"):
        read_table(str(tmp_path / "a.ts"))


def test_covers_of_music_are_no_films(tmp_path: Path) -> None:
    sound_with_cover(tmp_path / "song.mp4")
    with pytest.raises(ImageError, match="sound without moving pictures"):
        open_film(str(tmp_path / "song.mp4"), [0.0]).__enter__()


def test_frames_over_the_limit_are_not_decoded(films: Path) -> None:
    with (
        pytest.raises(ImageError, match="160 x 96 pixels a frame, over the limit of 1,000"),
        open_film(str(films / "steady.mp4"), [0.0], FilmLimits(max_pixels=1_000)),
    ):
        pass


def test_a_table_without_end_costs_nothing(films: Path, tmp_path: Path) -> None:
    """A few bytes claim four thousand million frames."""
    data = bytearray((films / "steady.mp4").read_bytes())
    place = data.index(b"stts") + 12
    data[place : place + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "a.mp4").write_bytes(bytes(data))
    with (tmp_path / "a.mp4").open("rb") as file:
        assert read_mp4_table(file) is None


def test_offsets_without_end_cost_nothing(films: Path, tmp_path: Path) -> None:
    data = bytearray((films / "b_frames.mp4").read_bytes())
    place = data.index(b"ctts") + 8
    (entries,) = struct.unpack_from(">I", data, place)
    for entry in range(entries):  # eight bytes each, that claim millions
        struct.pack_into(">I", data, place + 4 + 8 * entry, 4_999_999)
    (tmp_path / "a.mp4").write_bytes(bytes(data))
    tracemalloc.start()
    with (tmp_path / "a.mp4").open("rb") as file:
        assert read_mp4_table(file) is None
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 24


def test_a_clock_that_leaps_for_years_costs_nothing() -> None:
    """One bit of a time is damaged: what is asked for by the second is not counted by the second."""
    leap = FrameTable(np.array([0.0, 1.0, 2.5, 1e12, 1e12 + 0.5]), np.arange(5) == 0, 1e12 + 1)
    assert choose_frames(leap, FrameChoice("every", 1.0)).tolist() == [0, 1, 2, 3]
    assert choose_frames(leap, FrameChoice("every", 2.5)).tolist() == [0, 2, 3]
    for choice in (AUTO_FRAMES, FrameChoice("count", count=3)):
        assert set(choose_frames(leap, choice).tolist()) <= set(range(5))


def test_a_frame_that_is_shown_for_no_time_is_chosen() -> None:
    for end in (0.0, 5.0):
        still = FrameTable(np.array([end]), np.array([True]), end)
        assert all(
            choose_frames(still, parse_frames(said)).tolist() == [0] for said in ("every=1s", "auto", "3", "keys")
        )


def test_where_every_frame_is_a_key_frame_not_all_are_chosen() -> None:
    """As cameras and editors store films: 25 a second of them would be looked at."""
    times = np.arange(0, 60, 0.04)
    chosen = times[choose_frames(FrameTable(times, np.ones(len(times), bool), 60.0), AUTO_FRAMES)]
    assert len(chosen) <= 120
    assert np.diff(chosen).max() < 0.6
    assert len(choose_frames(FrameTable(times, np.ones(len(times), bool), 60.0), FrameChoice("keys"))) == len(times)


def test_tables_of_any_bytes_raise_nothing(films: Path, tmp_path: Path) -> None:
    data = (films / "variable.mp4").read_bytes()
    start = data.index(b"moov")
    random = np.random.default_rng(0)
    path = tmp_path / "a.mp4"
    for _ in range(100):
        damaged = bytearray(data)
        for place in random.integers(start, len(data), 3):
            damaged[place] = random.integers(256)
        path.write_bytes(bytes(damaged))
        with path.open("rb") as file:
            table = read_mp4_table(file)
        assert table is None or (np.diff(table.times) > 0).all()


def test_a_decoder_that_hangs_is_ended(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film_processes.end()  # those that wait are of the other command
    monkeypatch.setattr("mmsearch.films.reading._COMMAND", [sys.executable, "-c", "import time; time.sleep(600)"])
    started = time.monotonic()
    with (
        pytest.raises(ImageError, match=r"nothing came of it for 0\.5 seconds"),
        open_film(str(films / "steady.mp4"), [0.0], FilmLimits(seconds=0.5)),
    ):
        pass
    assert time.monotonic() - started < 60


def test_a_decoder_that_breaks_down_is_told(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film_processes.end()
    monkeypatch.setattr("mmsearch.films.reading._COMMAND", [sys.executable, "-c", "import os; os.abort()"])
    with (
        pytest.raises(ImageError, match="its decoder broke down"),
        open_film(str(films / "steady.mp4"), [0.0]),
    ):
        pass


def test_without_the_extra_the_line_that_installs_it_is_said(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmsearch.films.reading.find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r"pip install 'mmsearch\[video\]'"), open_film(str(films / "old.avi"), [0.0]):
        pass


def test_nothing_of_ffmpeg_is_loaded_here() -> None:
    code = "import sys, mmsearch.films; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# What --frames says.


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("auto", FrameChoice()),
        (" Keys ", FrameChoice("keys")),
        ("every=1s", FrameChoice("every", 1.0)),
        ("every=.5", FrameChoice("every", 0.5)),
        ("every=2min", FrameChoice("every", 120.0)),
        ("12", FrameChoice("count", count=12)),
    ],
)
def test_choices_of_frames(text: str, choice: FrameChoice) -> None:
    assert parse_frames(text) == choice
    assert parse_frames(str(choice)) == choice


@pytest.mark.parametrize("text", ["", "0", "-1", "every", "every=0s", "every=1h", "all", "1.5", "²", "9" * 30])
def test_other_choices_are_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(MmsearchError, match="auto, scenes, keys, every=1s"):
        parse_frames(text)
