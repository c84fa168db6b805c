import pickle

import pytest

from instructloop.core import errors
from instructloop.core.errors import ConfigError, InstructLoopError, MissingExtraError

FAMILY = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, InstructLoopError)]


@pytest.mark.parametrize("kind", FAMILY)
def test_every_error_of_the_family_survives_pickling_with_its_hint(kind: type[InstructLoopError]) -> None:
    copy = pickle.loads(pickle.dumps(kind("what happened", hint="what to do")))
    assert type(copy) is kind
    assert (str(copy), copy.hint) == ("what happened", "what to do")


def test_errors_are_also_the_standard_kind_they_replace() -> None:
    assert issubclass(ConfigError, ValueError)
    assert issubclass(MissingExtraError, ImportError)


def test_a_missing_extra_names_the_pip_command() -> None:
    assert MissingExtraError.for_extra("pyarrow", "files").hint == "pip install 'instructloop[files]'"
