"""Moments of features in a file, as ADM's reference files have them: read only if they can be a network's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..components import Output
from ..datasets.npz import names_in, open_array, read_array
from ..errors import BadFile
from .features import Moments

_IN_FILES: dict[Output, tuple[str, str]] = {"features": ("mu", "sigma"), "spatial": ("mu_s", "sigma_s")}
_COUNT, _MOST = "count", 10**12
_WIDEST = 2**14  # features; those of the networks in use are 2,048 at most
_LARGEST = 1e12  # numbers of features are far below; products of larger ones leave float64
_EVEN = 1e-5  # of the largest variance: what two halves of a covariance may differ by, of float32
_SLACK = 1e-4  # of the largest variance: how far below 0 rounding to float32 may take an eigenvalue


def moments_in(path: Path) -> dict[Output, Moments]:
    """The moments in an ``.npz``: ``mu``, ``sigma`` and sFID's ``mu_s``, ``sigma_s``.

    Of how many images they are, a whole number ``count`` says; without one, as in others' files, it is 0: not known.
    `BadFile` if one of a pair is missing, or if they can't be a mean (F,) and a covariance (F, F) of features. What
    headers tell is told before anything is unpacked.
    """
    names = set(names_in(path))
    found: dict[Output, Moments] = {}
    for output, pair in _IN_FILES.items():
        there = names.intersection(pair)
        if len(there) == 1:
            raise BadFile(f"The reference {str(path)!r} has {there.pop()} alone; moments are {' and '.join(pair)}.")
        if there:
            found[output] = _moments(path, pair, _count(path) if _COUNT in names else 0)
    return found


def _count(path: Path) -> int:
    with open_array(path, _COUNT) as (_, header):
        whole = header.shape == () and header.dtype.kind in "iu"
    count = int(read_array(path, _COUNT, 8)) if whole else 0
    if not 1 < count <= _MOST:
        raise BadFile(f"The reference {str(path)!r}: count is no whole number of images, from 2 to {_MOST:,}.")
    return count


def _moments(path: Path, pair: tuple[str, str], count: int) -> Moments:
    where = f"The reference {str(path)!r}: {' and '.join(pair)}"
    _check_headers(path, pair, where)
    mean, covariance = (read_array(path, name, 8 * _WIDEST**2) for name in pair)
    _check_numbers(mean, covariance, where)
    return Moments(count, *(torch.from_numpy(one.astype(np.float64)) for one in (mean, covariance)))


def _check_headers(path: Path, pair: tuple[str, str], where: str) -> None:
    headers = []
    for name in pair:
        with open_array(path, name) as (_, header):
            headers.append(header)
    mean, covariance = headers
    if len(mean.shape) != 1 or covariance.shape != mean.shape * 2 or not 0 < mean.shape[0] <= _WIDEST:
        shapes = f"{mean.shape} and {covariance.shape}"
        raise BadFile(f"{where} have shapes {shapes}, not (F,) and (F, F) with F from 1 to {_WIDEST:,}.")
    for header in headers:
        if header.dtype.kind != "f" or header.dtype.itemsize < 4:
            raise BadFile(f"{where} hold {header.dtype}; moments are float64, or float32. Compute them anew.")


def _check_numbers(mean: npt.NDArray[Any], covariance: npt.NDArray[Any], where: str) -> None:
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise BadFile(f"{where} are not finite.")
    if max(np.abs(mean).max(), np.abs(covariance).max()) > _LARGEST:
        raise BadFile(f"{where} have numbers above {_LARGEST:g}, which no network puts out.")
    largest = float(covariance.diagonal().max())
    if covariance.diagonal().min() < 0 or largest == 0:
        raise BadFile(f"{where}: there is {'a variance below 0' if largest else 'no variance above 0'}.")
    if np.abs(covariance - covariance.T).max() > _EVEN * largest:
        raise BadFile(f"{where}: the covariance is not symmetric.")
    try:
        np.linalg.cholesky(covariance.astype(np.float64) + _SLACK * largest * np.eye(len(mean)))
    except np.linalg.LinAlgError:
        raise BadFile(f"{where}: the covariance has an eigenvalue below 0, which no images have.") from None
