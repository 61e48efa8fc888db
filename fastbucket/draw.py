"""Draws images with the statistics of photos: for tests, the demo and benchmarks without photos.

A photo's amplitude spectrum falls as 1/f, its colour is smoother than its brightness, and sharp
edges part surfaces of different roughness (Field 1987, "Relations between the statistics of
natural images and the response properties of cortical cells"). So a drawing is a gradient with a
cloud of 1/f^2 noise, then a few antialiased shapes, each of one colour and one roughness, and over
all of it a grain of 1/f noise as strong as the roughness at that place.

Same bytes everywhere, as far as numpy lets us: the random numbers are the raw words of PCG64,
which numpy keeps for ever (its distributions it does not), and the arithmetic is + - x / and square
root, which IEEE 754 rounds exactly; sines and powers, which differ between vector units, are not
used. The FFT may differ in its last bits, far below the rounding to 8 bits.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

SHAPES = 7
"""Shapes in a drawing: edges enough for a photo, few enough to stay fast."""

CLOUD = 26.0
"""Standard deviation, in levels of 255, of the large soft variation of luma."""

CHROMA = 7.0
"""Standard deviation, in levels of 255, of the soft variation of each chroma plane."""

ROUGHNESS = (4.0, 20.0)
"""Standard deviation of the grain, in levels of 255: from clear sky to foliage. Chosen for the
bytes: up to 24 the roughest drawings took 0.40 byte a pixel at quality 90, photos seldom do."""

FFT_STEP = 32
"""Pixels. Noise is made at the next multiple of this: an FFT of a prime side is much slower."""


def draw(width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """Draw the image of a seed: (height, width, 3) uint8, RGB. Sides in pixels, seed >= 0.

    Its JPEG at quality 90, 4:2:0 takes 0.2 to 0.35 byte a pixel, as a photo's does.
    """
    if width < 1 or height < 1 or seed < 0:
        raise ValueError(f"cannot draw {width}x{height} of seed {seed}: sides from 1, seeds from 0")
    dice = np.random.PCG64(seed)
    planes = _ground(dice, height, width)
    for number in range(SHAPES):
        _paint(planes, dice, number)
    luma, blue, red, roughness = planes
    roughness *= noise(dice, height, width, power=1)
    luma += roughness
    return _rgb(luma, blue, red)


def noise(dice: np.random.PCG64, height: int, width: int, power: int) -> Plane:
    """(height, width) float32: noise of amplitude 1/f^power, power 1 or 2, of mean 0, deviation 1.

    Mean and deviation hold for the whole period, which is up to FFT_STEP - 1 pixels larger.
    """
    rows, columns = (-(-side // FFT_STEP) * FFT_STEP for side in (height, width))
    shape = (rows, columns // 2 + 1)
    amplitude = np.fft.fftfreq(rows)[:, None] ** 2 + np.fft.rfftfreq(columns)[None, :] ** 2
    if power == 1:
        np.sqrt(amplitude, out=amplitude)
    amplitude[0, 0] = np.inf  # the mean
    spectrum = np.empty(shape, np.complex128)
    spectrum.real = (_uniform(dice, shape) - 0.5) / amplitude
    spectrum.imag = (_uniform(dice, shape) - 0.5) / amplitude
    field = np.fft.irfft2(spectrum, s=(rows, columns))
    deviation = float(f"{field.std():.6g}")  # a sum's last digits depend on the vector unit
    return (field[:height, :width] / deviation).astype(np.float32)


def _uniform(dice: np.random.PCG64, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Float64 in [0, 1) of 53 random bits each, straight from the generator's 64-bit words."""
    words = np.asarray(dice.random_raw(int(np.prod(shape))), np.uint64)
    fractions = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.asarray(fractions).reshape(shape)


def _ground(dice: np.random.PCG64, height: int, width: int) -> tuple[Plane, Plane, Plane, Plane]:
    """A drawing before its shapes, as (height, width) float32 planes, in levels of 255:
    luma, blue and red chroma about 0, roughness."""
    level, down, across, blue, red, rough = _uniform(dice, (6,)).tolist()
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :]
    luma = CLOUD * noise(dice, height, width, power=2)
    luma += (90 + 70 * level) + y * (160 * down - 80) + x * (80 * across - 40)
    cool = CHROMA * noise(dice, height, width, power=2)
    cool += (24 * blue - 12) - y * 20  # the top bluer, the bottom warmer, as outdoors
    warm = CHROMA * noise(dice, height, width, power=2)
    warm += (24 * red - 12) + y * 14
    low, high = ROUGHNESS
    return luma, cool, warm, np.full((height, width), low + (high - low) * rough, np.float32)


def _paint(planes: tuple[Plane, ...], dice: np.random.PCG64, number: int) -> None:
    """Paint one shape over the planes, in place: in turn an ellipse, a rectangle and a line."""
    height, width = planes[0].shape
    side = sqrt(height * width)  # so that shapes cover the same share of long and square images
    u = _uniform(dice, (11,)).tolist()
    length = max(sqrt((u[2] - 0.5) ** 2 + (u[3] - 0.5) ** 2), 1e-6)
    cosine, sine = (u[2] - 0.5) / length, (u[3] - 0.5) / length
    long, short = side * (0.06 + 0.24 * u[4]), side * (0.05 + 0.15 * u[5])  # half axes
    if number % 3 == 2:
        long, short = side * (0.3 + 0.3 * u[4]), 0.6 + 3.0 * u[5]
    middle_x, middle_y = u[0] * width, u[1] * height
    reach = sqrt(long**2 + short**2) + 1
    left, right = max(int(middle_x - reach), 0), min(int(middle_x + reach) + 1, width)
    top, bottom = max(int(middle_y - reach), 0), min(int(middle_y + reach) + 1, height)
    y = np.arange(top, bottom, dtype=np.float32)[:, None] + (0.5 - middle_y)
    x = np.arange(left, right, dtype=np.float32)[None, :] + (0.5 - middle_x)
    along, aside = np.abs(x * cosine + y * sine), np.abs(y * cosine - x * sine)
    edge = _ellipse if number % 3 == 0 else _box
    cover = np.clip(0.5 - edge(along, aside, long, short), 0, 1)
    low, high = ROUGHNESS
    paints = (30 + 200 * u[6], 70 * u[7] - 35, 70 * u[8] - 35, low + (high - low) * u[9])
    opacities = (0.6 + 0.4 * u[10], 0.7, 0.7, 1.0)  # the ground shines through: no flat surface
    for plane, paint, opacity in zip(planes, paints, opacities, strict=True):
        part = plane[top:bottom, left:right]
        part += cover * opacity * (paint - part)


def _box(along: Plane, aside: Plane, long: float, short: float) -> Plane:
    """Pixels outside a rectangle's edge (negative: inside), at distances from its two axes."""
    return np.asarray(np.maximum(along - long, aside - short))


def _ellipse(along: Plane, aside: Plane, long: float, short: float) -> Plane:
    """Pixels outside an ellipse's edge, to first order: its equation over the gradient of it."""
    a, b = along / long, aside / short
    radius = np.sqrt(a * a + b * b)
    slope = np.sqrt((a / long) ** 2 + (b / short) ** 2)
    return np.asarray(radius * (radius - 1) / np.maximum(slope, 1e-6), np.float32)


def _rgb(luma: Plane, blue: Plane, red: Plane) -> NDArray[np.uint8]:
    """YCbCr (chroma about 0) to (height, width, 3) RGB, clamped, rounded to nearest. Coefficients:
    ITU-T T.871 (JFIF)."""
    rgb = np.empty((*luma.shape, 3), np.float32)
    rgb[..., 0] = luma + 1.402 * red
    rgb[..., 1] = luma - 0.344136 * blue - 0.714136 * red
    rgb[..., 2] = luma + 1.772 * blue
    rgb += 0.5
    return np.clip(rgb, 0, 255).astype(np.uint8)
