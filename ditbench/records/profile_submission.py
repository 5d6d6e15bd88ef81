"""Profiles put forward for the leaderboard: speeds that were measured alone, a file for each, by class of hardware."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from ..errors import BadFile, BadValue, DitbenchError
from ..registry import Registry
from ..storage.files import Unwritable, exists, is_file, is_folder, make_folder
from .files import PROFILE_SUFFIX, PROFILES
from .profile import Profile, file_name, folder_name, read_profile, write_profile
from .record import Submission
from .submission import machine_words
from .validation.files import check_file
from .validation.privacy import betrayals
from .verification import check_name


def profile_files(place: Path) -> list[Path]:
    """The profile that is named, or those in a folder that `ditbench profile` wrote; none if it is no such place."""
    if is_file(place) and place.name.endswith(PROFILE_SUFFIX):
        return [place]
    return sorted(place.glob(f"*{PROFILE_SUFFIX}")) if is_folder(place) else []


def submit_profiles(
    place: Path, by: str, to: Path, today: date | None = None, *, registry: Registry
) -> list[tuple[Profile, Path]]:
    """Copy a profile, or those in a folder, into a leaderboard's folder; what could not be timed is left out.

    All are checked before any is written. Raises `DitbenchError` naming the file: one that does not hold, names this
    machine, or would replace a newer one.
    """
    if not is_folder(to):
        raise BadFile(f"There is no leaderboard {str(to)!r}; go to a checkout of ditbench, or name it with `to`.")
    check_name(by)
    submission = Submission(by=by, date=today or date.today())
    found = [one for path in profile_files(place) if (one := _sound(path, registry)) is not None]
    if not found:
        raise BadValue(f"Nothing could be timed in {str(place)!r}: there is nothing to submit.")
    placed = [(one.model_copy(update={"submission": submission}), _place_of(one, to)) for one in found]
    for profile, path in placed:
        try:
            make_folder(path.parent)
            write_profile(profile, path.parent)
        except Unwritable as error:
            raise DitbenchError(f"The leaderboard {str(to)!r} can't be written ({error.reason}).") from None
    return placed


def _sound(path: Path, registry: Registry) -> Profile | None:
    """A profile that holds; None if it has nothing but the reason why it failed."""
    checked = check_file(path, registry)
    if checked.faults:
        more = f" (and {len(checked.faults) - 1} more faults)" if len(checked.faults) > 1 else ""
        raise BadFile(f"{checked.lines[0]}{more}. See `ditbench records validate`.")
    profile = read_profile(path)
    if profile.reason is not None:
        return None
    told = profile.model_dump(mode="json", exclude={"submission"})
    for field, what in betrayals(told, machine_words(profile.label, profile.architecture.distribution)):
        raise BadValue(f"{path.name} would tell of this machine: {field} holds {what}. It is not edited: time it anew.")
    return profile


def _place_of(profile: Profile, to: Path) -> Path:
    path = to / PROFILES / folder_name(profile) / file_name(profile)
    if exists(path) and read_profile(path).created > profile.created:
        raise DitbenchError(f"{path.name!r} is in the leaderboard, and newer; it is not overwritten.")
    return path
