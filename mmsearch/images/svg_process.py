"""Renders one SVG as PNG, from stdin to stdout, within limits: the process that `mmsearch.images.svg` starts.

python -P svg_process.py WIDTH HEIGHT [FONT]... Exits with 1 where the drawing is damaged. Nothing of mmsearch is
imported, so that it is quick to start.
"""

import contextlib
import sys

_CPU_SECONDS = 20
_MEMORY = 2 << 30  # bytes of addresses


def main() -> None:
    """Render."""
    width, height, *fonts = sys.argv[1:]
    import resvg_py

    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no limits of this kind
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    try:
        image = resvg_py.svg_to_bytes(
            svg_string=sys.stdin.buffer.read().decode(),
            width=int(width),
            height=int(height),
            skip_system_fonts=True,
            font_files=fonts,
            font_family="DejaVu Sans",
            sans_serif_family="DejaVu Sans",
            serif_family="DejaVu Serif",
            monospace_family="DejaVu Sans Mono",
            cursive_family="DejaVu Sans",
            fantasy_family="DejaVu Sans",
        )
    except ValueError as error:
        sys.exit(str(error))
    except MemoryError:
        sys.exit(2)
    sys.stdout.buffer.write(image)


if __name__ == "__main__":
    main()
