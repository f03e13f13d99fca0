"""Environment variables to settings."""

from pathlib import Path

import pytest

from server.errors import SettingsError
from server.models.quoting import quoted
from server.settings import Settings, from_environment, unknown_variables


def test_defaults() -> None:
    """An empty environment and empty variables give the defaults."""
    assert from_environment({}) == Settings()
    assert from_environment({"PORT": "", "LIFEBOAT_MODELS": ""}) == Settings()
    assert (Settings().host, Settings().port, Settings().models) == ("127.0.0.1", 8080, Path("models"))


def test_every_setting_has_a_variable() -> None:
    """Each variable sets its setting, converted to the setting's type."""
    environment = {
        "LIFEBOAT_HOST": "0.0.0.0",  # noqa: S104 # the value that a container sets
        "PORT": "9000",
        "LIFEBOAT_MODELS": "/srv/models",
        "LIFEBOAT_DEFAULT_MODEL": "titanic",
        "LIFEBOAT_MAX_BODY_BYTES": "1",
        "LIFEBOAT_MAX_ROWS": "2",
        "LIFEBOAT_CACHE_S": "0",
        "LIFEBOAT_DRAIN_S": "0",
        "LIFEBOAT_LOG_LEVEL": "error",
    }
    assert from_environment(environment) == Settings(
        host="0.0.0.0",  # noqa: S104 # the value that a container sets
        port=9000,
        models=Path("/srv/models"),
        default_model="titanic",
        max_body_bytes=1,
        max_rows=2,
        cache_s=0,
        drain_s=0,
        log_level="error",
    )


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("PORT", "http", "a whole number from 0 to 65535"),
        ("PORT", "-1", "a whole number from 0 to 65535"),
        ("PORT", "65536", "a whole number from 0 to 65535"),
        ("LIFEBOAT_MAX_BODY_BYTES", "0", "a whole number from 1 to 2147483648"),
        ("LIFEBOAT_MAX_BODY_BYTES", "16M", "a whole number from 1 to 2147483648"),
        ("LIFEBOAT_MAX_ROWS", "0", "a whole number from 1 to 2147483648"),
        ("LIFEBOAT_MAX_ROWS", "1.5", "a whole number from 1 to 2147483648"),
        ("LIFEBOAT_CACHE_S", "86401", "a whole number from 0 to 86400"),
        ("LIFEBOAT_DRAIN_S", "-1", "a whole number from 0 to 900"),
        ("LIFEBOAT_DRAIN_S", "901", "a whole number from 0 to 900"),
        ("LIFEBOAT_LOG_LEVEL", "verbose", "one of debug, info, warning, error"),
        ("LIFEBOAT_LOG_FORMAT", "xml", "one of json, text"),
        ("LIFEBOAT_LOG_REQUESTS", "some", "one of none, errors, all"),
        ("LIFEBOAT_LOG_INPUTS", "yes", "1 or 0"),
        ("LIFEBOAT_TRACE", "true", "1 or 0"),
        ("LIFEBOAT_LOG_LEVEL", "INFO", "one of debug, info, warning, error"),
    ],
)
def test_wrong_value_names_the_variable(variable: str, value: str, expected: str) -> None:
    """A wrong value is rejected with the variable, the expected values and the given value."""
    with pytest.raises(SettingsError) as refused:
        from_environment({variable: value})
    assert str(refused.value) == f"{variable}: expected {expected}; got {quoted(value)}"


@pytest.mark.parametrize(("variable", "value"), [("PORT", "0"), ("PORT", "65535"), ("LIFEBOAT_DRAIN_S", "900")])
def test_limits_themselves_are_allowed(variable: str, value: str) -> None:
    """Both ends of a setting's range are valid."""
    from_environment({variable: value})


def test_unknown_variables() -> None:
    """Unknown variables are reported only if they have the prefix."""
    environment = {"LIFEBOAT_MAX_ROW": "1", "LIFEBOAT_PORT": "1", "LIFEBOAT_MAX_ROWS": "1", "PORT": "1", "PATH": "/bin"}
    assert unknown_variables(environment) == ["LIFEBOAT_MAX_ROW", "LIFEBOAT_PORT"]


@pytest.mark.parametrize(
    "token", [" s3cret", "s3cret ", "s3\ncret", "s3\tcret", "s3\x7fcret", "s3\u20accret", "s3cret\xa0"]
)
def test_a_token_that_never_matches(token: str) -> None:
    """A token that a header can't carry unchanged stops the start, and isn't printed."""
    with pytest.raises(SettingsError, match="LIFEBOAT_ADMIN_TOKEN: expected Latin-1") as refused:
        from_environment({"LIFEBOAT_ADMIN_TOKEN": token})
    assert token not in str(refused.value)


def test_a_token_that_can_match() -> None:
    """A token may have spaces inside and characters of the upper half of Latin-1."""
    token = "s3 cr\xe9t"  # noqa: S105 # a made-up token
    assert from_environment({"LIFEBOAT_ADMIN_TOKEN": token}).admin_token == token
