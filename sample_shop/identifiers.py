"""Identifiers that look random, differ between seeds, and are unique because their making can be undone."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sample_shop import world
from sample_shop.options import MICROSECONDS

Ints = NDArray[np.int64]
_URL_LETTERS = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", dtype="S1")


def mix(values: Ints, salt: int) -> NDArray[np.uint64]:
    """64 well-mixed bits per value (the finaliser of SplitMix64, https://prng.di.unimi.it/splitmix64.c)."""
    x = values.astype(np.uint64) + np.uint64((salt * 0x9E3779B97F4A7C15) % 2**64)
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _scatter(number: Ints, seed: int, bits: int) -> Ints:
    """A permutation of the numbers below 2**bits: odd multiplication and a shift, modulo 2**bits."""
    return (number * 0x2545F491 + (seed % 1_000_003) * 7_919) % (1 << bits)


def _text(numbers: Ints) -> pa.Array:
    return pc.cast(pa.array(numbers), pa.string())


def make_user_pseudo_ids(client: Ints, first_touch: Ints, seed: int) -> pa.Array:
    """`<number>.<second of the first touch>`, as GA4's cookie has it; one a client."""
    return pc.binary_join_element_wise(_text(_scatter(client, seed, 31)), _text(first_touch // MICROSECONDS), ".")


def make_session_ids(records: NDArray[np.void], seed: int) -> pa.Array:
    """`stream_id|user_pseudo_id|ga_session_id` of session records."""
    return pc.binary_join_element_wise(
        pa.scalar(world.STREAM_ID),
        make_user_pseudo_ids(records["client"], records["first_touch"], seed),
        _text(records["start"] // MICROSECONDS),
        "|",
    )


def make_user_ids(person: Ints, seed: int) -> pa.Array:
    """`U` and a number; one a person, whatever the device."""
    return pc.binary_join_element_wise(pa.scalar("U"), _text(1_000_000_000 + _scatter(person, seed + 1, 29)), "")


def make_order_numbers(order: Ints, seed: int) -> Ints:
    """Nine digits, one number an order."""
    return 100_000_000 + _scatter(order, seed + 2, 27)


def make_click_ids(number: Ints, seed: int, length: int = 40) -> pa.Array:
    """Case-sensitive letters as ad networks hang them on a link; one a session."""
    words = [mix(number, seed * 16 + part) for part in range(-(-length // 10))]
    letters = [(word >> np.uint64(6 * place)) & np.uint64(63) for word in words for place in range(10)][:length]
    text = _URL_LETTERS[np.stack(letters, axis=1).astype(np.int64)]
    return pa.array(np.ascontiguousarray(text).view(f"S{length}").ravel().astype(str), pa.string())
