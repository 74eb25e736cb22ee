from __future__ import annotations

import pytest

from bitspike.data import describe_options, names, options
from bitspike.errors import BitspikeError


@pytest.mark.parametrize("name", names())
def test_every_option_has_a_type_and_a_sentence(name: str) -> None:
    found = describe_options(name)
    assert tuple(option.name for option in found) == options(name)
    for option in found:
        assert option.text.endswith((".", "...")), option
        assert "<" not in option.type, option
        assert "Annotated" not in option.type, option
        assert "None" not in option.type, option


def test_types_are_in_words() -> None:
    found = {option.name: option for option in describe_options("folder")}
    assert found["path"].type == "path"
    assert found["path"].default == "required"
    assert found["channels"].type == "1 or 3"
    assert found["size"].type == "[whole number above 0, whole number above 0]"
    assert found["target"].type == '"class" or "value"'
    assert (found["time"].type, found["time"].default) == ("true or false", False)
    assert describe_options("mackey-glass")[-1].type == "number above 0 to 100"
    with pytest.raises(BitspikeError, match=r"^data set: got 'nosuch', wanted one of 'digits'"):
        describe_options("nosuch")
