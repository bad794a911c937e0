"""Settings: arguments, then environment, then defaults; bad ones named with their remedy."""

import dataclasses
import os
import subprocess
import sys
from typing import Any

import pytest

from carbon_sdk.errors import SettingsError
from carbon_sdk.settings import Settings, from_environment, unknown_variables


def test_nothing_needs_to_be_set() -> None:
    """An empty environment gives the documented defaults."""
    settings = from_environment({})

    assert settings.sample_interval_seconds == 1.0
    assert settings.emit_interval_seconds == 60.0
    assert settings.sinks == ("structlog",)
    assert settings.provider_order == ("yearly_averages",)


def test_arguments_stand_above_the_environment() -> None:
    """What the code says wins over what the environment says."""
    settings = from_environment({"CARBON_SDK_SERVICE": "a", "CARBON_SDK_ZONE": "de"}, service="b")

    assert settings.service == "b"
    assert settings.zone == "DE"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("SAMPLE_INTERVAL_SECONDS", "0", "0.1 to 60"),
        ("SAMPLE_INTERVAL_SECONDS", "nan", "out of range"),
        ("EMIT_INTERVAL_SECONDS", "soon", "not a number"),
        ("PUE", "1,2", "not a comma"),
        ("IDLE_POLICY", "by-cpu", "did you mean by_cpu"),
        ("ZONE", "Germany!", "DK-DK1"),
        ("DISABLED", "maybe", "1 or 0"),
        ("LATITUDE", "200", "-90 to 90"),
        ("HTTP_TIMEOUT_SECONDS", "0", "0.1 to 60"),
        ("HTTP_PROXY", "proxy:3128", "http://proxy.example.org:3128"),
        ("HTTP_CA_FILE", "/nowhere/ca.pem", "there is no file"),
        ("STATE_DIR", " ", "not a path"),
        ("STATE_DIR", "~nobody-of-this-name/state", "no home is known"),
    ],
)
def test_a_bad_value_names_the_setting_and_the_remedy(name: str, text: str, says: str) -> None:
    """The message is enough to mend the setting."""
    with pytest.raises(SettingsError) as caught:
        from_environment({f"CARBON_SDK_{name}": text})

    assert f"CARBON_SDK_{name}" in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["0", " 0 ", "no", "off", "False", "FALSE", "perhaps"])
def test_only_a_yes_is_strict(text: str) -> None:
    """However a no is written; what is neither is told like any bad variable."""
    told: list[SettingsError] = []

    from_environment({"CARBON_SDK_PUE": "x", "CARBON_SDK_STRICT": text}, on_error=told.append)

    assert "CARBON_SDK_PUE (pue)" in [error.setting for error in told]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sinks", 5),
        ("sinks", [5]),
        ("provider", ["file", None]),
        ("propagate_to", {"a": 1}),
        ("propagate_to_queues", b"mail"),
        ("baggage_secrets", [b"a secret of bytes"]),
        pytest.param("pue", 10**400, id="a number beyond floats"),
        ("state_dir", 5),
        ("state_dir", "a\0b"),
    ],
)
def test_a_value_of_another_type_names_the_setting(name: str, value: Any) -> None:
    """In code, too, no error of Python's own comes out; a secret is not shown."""
    with pytest.raises(SettingsError, match=f"CARBON_SDK_{name.upper()} ") as caught:
        Settings(**{name: value})

    assert "a secret of bytes" not in str(caught.value)


@pytest.mark.parametrize("home", ["/home/ada", "/", "", None])
@pytest.mark.parametrize("xdg", ["", "relative/state"])
def test_state_never_lands_where_the_program_happens_to_run(
    home: str | None, xdg: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither without a home, nor by a relative XDG folder, which its specification ignores."""
    monkeypatch.delenv("HOME") if home is None else monkeypatch.setenv("HOME", home)

    folder = Settings(source={"XDG_STATE_HOME": xdg}).state_folder

    assert folder.is_absolute()
    assert folder.is_relative_to(home or "/")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user whom nobody knows")
def test_a_user_whom_nobody_knows_has_the_root_as_home() -> None:
    """As in a container that runs under any number; a folder called `~` is made nowhere."""
    code = (
        "import os, pwd; from carbon_sdk.settings import Settings; os.environ.pop('HOME', None); os.setuid(54321); "
        "print(Settings().state_folder)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "/.local/state/carbon_sdk"


def test_without_strict_a_bad_variable_is_told_and_left_at_its_default() -> None:
    """Zero configuration goes on measuring."""
    told: list[SettingsError] = []

    settings = from_environment({"CARBON_SDK_PUE": "x", "CARBON_SDK_SERVICE": "shop"}, on_error=told.append)

    assert settings.pue is None
    assert settings.service == "shop"
    assert [error.setting for error in told] == ["CARBON_SDK_PUE (pue)"]


def test_strict_raises_even_where_errors_could_be_told() -> None:
    """`CARBON_SDK_STRICT=1` turns a bad variable into an error at start."""
    with pytest.raises(SettingsError):
        from_environment({"CARBON_SDK_PUE": "x", "CARBON_SDK_STRICT": "1"}, on_error=lambda error: None)


def test_a_bad_argument_always_raises() -> None:
    """An error in code is the programmer's to see."""
    with pytest.raises(SettingsError, match="sample_interval_seconds"):
        from_environment({}, on_error=lambda error: None, sample_interval_seconds=0)


def test_two_settings_that_need_each_other_are_told_together() -> None:
    """Half a place is no place; the rest of the environment still counts where errors are told."""
    told: list[SettingsError] = []

    settings = from_environment({"CARBON_SDK_LATITUDE": "52.5", "CARBON_SDK_SERVICE": "shop"}, on_error=told.append)

    assert settings.latitude is None
    assert settings.service == "shop"
    assert "longitude" in str(told[0])


def test_an_unknown_argument_names_the_nearest() -> None:
    """A misspelt argument is not swallowed."""
    with pytest.raises(SettingsError, match="Did you mean service"):
        from_environment({}, servce="shop")


def test_an_unknown_variable_is_told_with_the_nearest() -> None:
    """A misspelt variable is not ignored in silence."""
    told = unknown_variables({"CARBON_SDK_SERVIC": "x", "CARBON_SDK_EIA_KEY": "k", "PATH": "/bin"}, ["eia"])

    assert told == ["CARBON_SDK_SERVIC is no setting. Did you mean CARBON_SDK_SERVICE?"]


def test_options_of_a_plugin_are_its_variables() -> None:
    """A provider finds its options without the prefix; a secret shows in no repr."""
    settings = from_environment({"CARBON_SDK_ELECTRICITY_MAPS_TOKEN": "hush", "CARBON_SDK_ZONE": "DE"})

    assert settings.options("electricity_maps") == {"token": "hush"}
    assert settings.provider_order == ("electricity_maps", "yearly_averages")
    assert "hush" not in repr(settings)


def test_settings_are_frozen() -> None:
    """A setting never changes under a running line."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().service = "x"  # type: ignore[misc]
