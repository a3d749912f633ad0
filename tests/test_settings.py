"""Where settings come from, which win, what is refused, and that no secret is ever shown."""

from dataclasses import fields
from pathlib import Path

import pytest

from app.mapping_settings import InboundMapping, OutboundMapping
from app.settings import (
    DOORS,
    NAMES,
    PARTNER_KEYS,
    SECRETS,
    TABLES,
    Settings,
    SettingsError,
    SettingsSchema,
    load_settings,
)

DOOR_SECRETS = {name: f"door-secret-of-{name}" for name in DOORS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with a settings file of its own, so that the shipped one is not read."""
    write_toml(tmp_path, "")
    return tmp_path


def write_toml(folder: Path, text: str) -> None:
    (folder / "config").mkdir(exist_ok=True)
    (folder / "config/bridge.toml").write_text(text, encoding="utf-8")


def refusal(environ: dict[str, str], folder: Path) -> str:
    with pytest.raises(SettingsError) as refused:
        load_settings(environ, folder)
    return str(refused.value)


# Sources


def test_defaults_hold_where_nothing_is_set(folder):
    assert load_settings({}, folder) == Settings()


def test_environment_wins_over_env_file_over_toml_over_default(folder):
    write_toml(folder, 'ON_DELETE = "delete"\nBRIDGE_WEB_WORKERS = 3\nBRIDGE_WEB_THREADS = 4')
    (folder / ".env").write_text("ON_DELETE=forget\nBRIDGE_WEB_WORKERS=5\n")

    settings = load_settings({"ON_DELETE": "ignore"}, folder)

    assert settings.on_delete == "ignore"
    assert settings.bridge_web_workers == 5
    assert settings.bridge_web_threads == 4
    assert settings.bridge_max_attempts == Settings().bridge_max_attempts


def test_reads_the_process_environment_and_the_working_directory(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("BRIDGE_WEB_WORKERS", "7")
    (folder / ".env").write_text("BRIDGE_WEB_THREADS=8\n")

    settings = load_settings()

    assert (settings.bridge_web_workers, settings.bridge_web_threads) == (7, 8)


def test_bridge_s_own_file_serves_where_the_working_directory_has_none(tmp_path, monkeypatch):
    own, elsewhere = tmp_path / "own", tmp_path / "elsewhere"
    own.mkdir()
    elsewhere.mkdir()
    write_toml(own, "TRACK_ALL_PAGES = true")
    monkeypatch.setattr("app.settings.ROOT", own)

    assert load_settings({}, elsewhere).track_all_pages is True
    write_toml(elsewhere, "")
    assert load_settings({}, elsewhere).track_all_pages is False


def test_no_file_at_all_is_fine(tmp_path, monkeypatch):
    monkeypatch.setattr("app.settings.ROOT", tmp_path)

    assert load_settings({}, tmp_path) == Settings()


def test_env_file_takes_quotes_comments_and_export(folder):
    (folder / ".env").write_text(
        "# the key of the shop's project\n"
        'export SEGMENT_WRITE_KEY="quoted # key"\n'
        "BRIDGE_ALLOW_UNAUTHENTICATED=true  # for now\n"
        "SOMETHING_ELSE=of no concern\n"
    )

    settings = load_settings({}, folder)

    assert settings.segment_write_key == "quoted # key"
    assert settings.bridge_allow_unauthenticated is True


def test_env_file_that_is_no_text_is_one_problem_and_no_trace(folder):
    (folder / ".env").write_bytes(b"SEGMENT_WRITE_KEY=\xff\xfe\n")

    assert ".env: " in refusal({}, folder)


@pytest.mark.parametrize("empty", ["", "   "])
def test_empty_value_counts_as_not_set(folder, empty):
    (folder / ".env").write_text("ON_DELETE=forget\n")

    assert load_settings({"ON_DELETE": empty}, folder).on_delete == "forget"


def test_toml_names_are_read_in_any_case(folder):
    write_toml(
        folder, 'track_all_pages = true\nOn_Delete = "delete"\n[OUTBOUND]\ndeny_events=["a"]'
    )

    settings = load_settings({}, folder)

    assert settings.track_all_pages is True
    assert settings.on_delete == "delete"
    assert settings.outbound.deny_events == ("a",)


def test_tables_of_the_toml_become_typed_values(folder):
    write_toml(
        folder,
        """
        [outbound]
        cart_events = ["Basket Filled"]
        rename_events = { "Signed Up" = "signup" }
        [inbound]
        deny_events = ["emailSend"]
        [limits]
        "users/update" = 100
        """,
    )

    settings = load_settings({}, folder)

    assert settings.outbound == OutboundMapping(
        cart_events=("Basket Filled",), rename_events={"Signed Up": "signup"}
    )
    assert settings.inbound == InboundMapping(deny_events=("emailSend",))
    assert settings.limits == {"users/update": 100.0}


# Refusals


def test_every_problem_is_listed_at_once(folder):
    write_toml(
        folder,
        """
        TRAK_ALL_PAGES = true
        [outbound]
        deny_events = "not a list"
        rename_things = {}
        [limits]
        "users/update" = 0
        """,
    )
    environ = {
        "ITERABLE_DATA_CENTER": "mars",
        "ITERABLE_BASE_URL": "api.iterable.com",
        "ITERABLE_PROJECT_TYPE": "modern",
        "ITERABLE_TIMEOUT": "soon",
        "TRACK_ALL_PAGES": "perhaps",
        "ON_DELETE": "burn",
        "BRIDGE_LOG": "/var/bridge.db",
        "BRIDGE_BIND": "localhost",
        "BRIDGE_WEB_WORKERS": "0",
        "BRIDGE_MAX_BODY": "12",
        "BRIDGE_ADMIN_TOKEN": "short",
    }

    message = refusal(environ, folder)

    assert len(message.splitlines()) == 1 + len(environ) + 4
    assert "TRAK_ALL_PAGES: unknown setting in bridge.toml" in message
    assert "outbound.deny_events: " in message
    assert "outbound.rename_things: " in message
    assert "limits.users/update" in message
    for name in environ:
        assert f"- {name}: " in message
    assert "us, eu" in message
    assert "must start with http://" in message
    assert "30s, 15m, 12h or 7d" in message
    assert "sqlite:///PATH" in message


@pytest.mark.parametrize("name", sorted(SECRETS))
@pytest.mark.parametrize("spelling", [str.upper, str.lower])
def test_secret_in_the_toml_is_refused_without_showing_it(folder, name, spelling):
    write_toml(folder, f'{spelling(name)} = "s3cret-value-of-it"')

    message = refusal({}, folder)

    assert f"{name}: a secret; move it from bridge.toml to the environment or .env" in message
    assert "s3cret-value-of-it" not in message


def test_toml_that_cannot_be_read_tells_the_place_and_nothing_of_its_content(folder):
    write_toml(folder, 'TRACK_ALL_PAGES = true\nSEGMENT_WRITE_KEY = "s3cret" oops')

    message = refusal({"ON_DELETE": "burn"}, folder)

    assert "bridge.toml: " in message
    assert "line 2" in message
    assert "ON_DELETE: " in message
    assert "s3cret" not in message


@pytest.mark.parametrize(
    "name", ["BRIDGE_WEB_WORKERS", "TRACK_ALL_PAGES", "ITERABLE_TIMEOUT", "ITERABLE_BASE_URL"]
)
def test_refused_values_are_not_quoted(folder, name):
    """A secret may have been pasted into the wrong place."""
    assert "s3cret-pasted" not in refusal({name: "s3cret-pasted"}, folder)


# Durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0.5", 0.5),
        ("30s", 30),
        ("15m", 900),
        ("12h", 43_200),
        ("7d", 604_800),
        (" 7 D ", 604_800),
    ],
)
def test_duration_is_seconds_or_a_number_with_a_unit(folder, text, seconds):
    assert load_settings({"BRIDGE_RETENTION": text}, folder).bridge_retention == seconds


def test_duration_may_be_a_number_in_the_toml(folder):
    write_toml(folder, "ITERABLE_TIMEOUT = 2.5")

    assert load_settings({}, folder).iterable_timeout == 2.5


@pytest.mark.parametrize("text", ["0", "-1s", "nan", "inf", "1e9d", "d", "1w", "7 days"])
def test_duration_that_is_none_is_refused(folder, text):
    assert "ITERABLE_TIMEOUT: " in refusal({"ITERABLE_TIMEOUT": text}, folder)


# Secrets and doors


def test_repr_never_shows_a_secret(folder):
    secrets = {name: f"s3cret-of-{name}" for name in SECRETS}

    settings = load_settings(secrets, folder)

    assert settings.iterable_api_key == "s3cret-of-ITERABLE_API_KEY"
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in str(settings)


def test_refusal_never_shows_a_secret(folder):
    secrets = {name: f"s3cret-of-{name}" for name in SECRETS}

    assert "s3cret" not in refusal(secrets | {"ON_DELETE": "burn"}, folder)


@pytest.mark.parametrize("name", sorted(DOORS))
def test_several_door_secrets_hold_at_once_while_they_are_rotated(folder, name):
    settings = load_settings({name: " new , old,"}, folder)

    assert getattr(settings, name.lower()) == ("new", "old")


@pytest.mark.parametrize("key", PARTNER_KEYS)
def test_open_door_stops_the_start_once_a_partner_s_key_is_set(folder, key):
    message = refusal({key: "a-key"}, folder)

    for name, route in DOORS.items():
        assert f"{name}: is missing, so {route} would be open to anyone" in message


@pytest.mark.parametrize("open_door", sorted(DOORS))
@pytest.mark.parametrize("nothing", ["", " , "])
def test_only_the_open_door_is_named(folder, open_door, nothing):
    message = refusal(DOOR_SECRETS | {"SEGMENT_WRITE_KEY": "k", open_door: nothing}, folder)

    assert f"- {open_door}: " in message
    assert len(message.splitlines()) == 2


def test_locked_doors_let_it_start(folder):
    assert load_settings(DOOR_SECRETS | {"SEGMENT_WRITE_KEY": "k"}, folder).segment_write_key == "k"


def test_open_doors_can_be_asked_for(folder):
    environ = {"ITERABLE_API_KEY": "k", "BRIDGE_ALLOW_UNAUTHENTICATED": "true"}

    assert load_settings(environ, folder).segment_shared_secret == ()


def test_open_doors_are_fine_without_any_partner_s_key(folder):
    assert load_settings({}, folder).has_partner_credentials is False


@pytest.mark.parametrize("key", PARTNER_KEYS)
def test_any_partner_s_key_counts_as_credentials(folder, key):
    assert load_settings(DOOR_SECRETS | {key: "k"}, folder).has_partner_credentials is True


# Iterable's address


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "https://api.iterable.com"),
        ({"ITERABLE_DATA_CENTER": "us"}, "https://api.iterable.com"),
        ({"ITERABLE_DATA_CENTER": "eu"}, "https://api.eu.iterable.com"),
        (
            {"ITERABLE_DATA_CENTER": "eu", "ITERABLE_BASE_URL": "http://127.0.0.1:9101/"},
            "http://127.0.0.1:9101",
        ),
    ],
)
def test_base_url_follows_the_data_center_unless_it_is_set(folder, environ, url):
    assert load_settings(environ, folder).iterable_base_url == url


# The schema and the typed object


def test_schema_and_settings_have_the_same_fields():
    in_schema = set(SettingsSchema().fields)

    assert in_schema == set(NAMES) | TABLES
    assert {name.lower() for name in in_schema} == {field.name for field in fields(Settings)}


def test_secrets_and_doors_are_settings_and_nothing_secret_is_shown():
    assert set(NAMES) >= SECRETS
    assert set(DOORS) <= SECRETS
    assert {f.name.upper() for f in fields(Settings) if not f.repr} == SECRETS


def test_names_that_iterable_does_not_know_are_refused(folder):
    write_toml(folder, "[limits]\n'users/updat' = 5\n[outbound]\nlift_properties = ['order_id']\n")
    message = refusal({}, folder)
    assert "limits.users/updat" in message
    assert "outbound.lift_properties" in message
