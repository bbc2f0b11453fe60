"""The two colour scales."""

import numpy as np

from viz.colors import DIVERGING, in_hex, palette

WEIGHTS = np.array([0.2126, 0.7152, 0.0722])  # of red, green and blue in luminance


def test_sequential_palette_rises_in_luminance():
    """It must still rise when printed in grey: relative luminance (WCAG 2) never falls."""
    colors = palette() / 255
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    luminance = linear @ WEIGHTS
    assert colors.shape == (256, 3) and luminance[0] < 0.01 and luminance[-1] > 0.8
    assert (np.diff(luminance) > -1e-3).all()


def test_diverging_palette_is_lightest_in_the_middle_and_symmetric():
    luma = palette(DIVERGING) @ WEIGHTS
    assert 110 <= luma.argmax() <= 145
    assert (np.diff(luma)[:109] > -1).all() and (np.diff(luma)[145:] < 1).all()
    assert abs(luma[:110] - luma[::-1][:110]).max() < 60  # as strong below zero as above


def test_in_hex_writes_two_digits_per_channel():
    assert in_hex(np.array([[0, 16, 255], [1, 2, 3]], np.uint8)) == "0010ff010203"
