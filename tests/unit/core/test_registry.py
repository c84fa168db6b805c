import pytest

from instructloop.core.errors import ConfigError
from instructloop.core.registry import Registry


@pytest.fixture
def shapes() -> Registry[str]:
    registry: Registry[str] = Registry("shapes")

    @registry.register("square")
    def square(side: int, colour: str = "red") -> str:
        """A square of a colour."""
        return f"{colour} square of {side}"

    return registry


def test_a_factory_is_called_with_the_stored_arguments(shapes: Registry[str]) -> None:
    assert shapes.build("square", {"side": 3}) == "red square of 3"
    assert shapes.describe() == {"square": "A square of a colour."}


def test_an_unknown_name_suggests_the_nearest(shapes: Registry[str]) -> None:
    with pytest.raises(ConfigError, match="no shapes is called 'sqare'") as caught:
        shapes.build("sqare")
    assert caught.value.hint == "did you mean 'square'?"


def test_a_wrong_argument_is_named_with_the_signature(shapes: Registry[str]) -> None:
    with pytest.raises(ConfigError, match="got an unexpected keyword argument 'size'") as caught:
        shapes.build("square", {"side": 1, "size": 3})
    assert "side: int" in str(caught.value.hint)


def test_a_name_cannot_be_taken_twice(shapes: Registry[str]) -> None:
    with pytest.raises(ConfigError, match="registered twice"):
        shapes.register("square")(lambda: "again")
