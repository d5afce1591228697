"""ccitt.py: bilevel images of fax machines, intact and damaged."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from zerodce_jax.errors import InputError
from zerodce_jax.media import ccitt

SCHEMES = {2: "tiff_ccitt", 3: "group3", 4: "group4"}
PATTERN = np.add.outer(np.arange(40) ** 2, np.arange(90) * 7) // 31 % 5 < 2
IMAGES = st.one_of(
    arrays.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 200))),
    # Long runs, whose codes have two and more parts.
    st.builds(
        lambda ends, width: np.less.outer(np.array(ends), np.arange(width)),
        st.lists(st.integers(0, 6000), min_size=1, max_size=4),
        st.integers(1, 6000),
    ),
)


def encode(black: np.ndarray, scheme: int) -> bytes:
    """Return one strip of an image, as libtiff encodes it."""
    file = io.BytesIO()
    # In Pillow's images, 1 is white; such files state that black is 0, and so are inverted.
    image = Image.fromarray(black)
    image.save(file, format="TIFF", compression=SCHEMES[scheme], tiffinfo={278: len(black)})
    saved = Image.open(io.BytesIO(file.getvalue()))
    (start,), (size,) = saved.tag_v2[273], saved.tag_v2[279]
    return file.getvalue()[start : start + size]


@pytest.mark.parametrize("scheme", SCHEMES)
@given(black=IMAGES)
def test_what_libtiff_encodes_is_decoded(scheme: int, black: np.ndarray) -> None:
    decoded = ccitt.decode(encode(black, scheme), *black.shape[::-1], scheme)
    np.testing.assert_array_equal(decoded, black)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_strips_that_are_cut_off_or_zeroed_are_refused(scheme: int) -> None:
    strip = encode(PATTERN, scheme)
    for damaged in (b"", strip[: len(strip) // 2], strip[: len(strip) // 2] + bytes(len(strip))):
        with pytest.raises(InputError, match="CCITT: "):
            ccitt.decode(damaged, *PATTERN.shape[::-1], scheme)


@pytest.mark.parametrize("scheme", SCHEMES)
@given(damaged=st.binary(max_size=300))
def test_any_bytes_give_an_image_or_an_error(scheme: int, damaged: bytes) -> None:
    try:
        decoded = ccitt.decode(damaged, 30, 4, scheme)
    except InputError:
        return
    assert decoded.shape == (4, 30)
    assert decoded.max(initial=0) <= 1
