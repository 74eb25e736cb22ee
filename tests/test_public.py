"""The public names of the package."""

from __future__ import annotations

import pkgutil

import bitspike


def test_a_public_name_means_the_same_whatever_was_imported_before() -> None:
    """Importing a module sets its name on the package, over a public name that is the same."""
    first = {name: getattr(bitspike, name) for name in bitspike.__all__}
    assert all(getattr(bitspike, name) is value for name, value in first.items())
    modules = {module.name for module in pkgutil.iter_modules(bitspike.__path__)}
    assert not modules & set(bitspike.__all__)


def test_every_public_name_is_listed_and_typed_once() -> None:
    assert sorted(bitspike._HOMES) == sorted(set(bitspike.__all__) - {"BitspikeError"})
