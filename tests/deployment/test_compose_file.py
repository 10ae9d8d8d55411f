"""docker-compose.yml without Docker: what a server would start, and with which secrets, ports and settings."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from foundation.settings import PROJECT_DIR, Settings

COMPOSE_FILE = PROJECT_DIR / "docker-compose.yml"
ENV_EXAMPLE = PROJECT_DIR / ".env.example"
AIRFLOW_IMAGE = "funnelhouse:local"
SECRETS = {
    "POSTGRES_PASSWORD",
    "REDIS_PASSWORD",
    "AIRFLOW_ADMIN_PASSWORD",
    "AIRFLOW_API_SECRET_KEY",
    "AIRFLOW_JWT_SECRET",
    "AIRFLOW_FERNET_KEY",
}
AIRFLOW_PROGRAMS = {"init", "api-server", "scheduler", "dag-processor", "triggerer", "worker"}
RUN_TASKS = {"scheduler", "worker"}
SEND_ALERTS = RUN_TASKS | {"dag-processor", "answers"}
# every service that may hold a secret, whatever it is called there
MAY_HOLD = {
    "POSTGRES_PASSWORD": AIRFLOW_PROGRAMS | {"postgres"},
    "REDIS_PASSWORD": RUN_TASKS | {"redis"},
    "AIRFLOW_ADMIN_PASSWORD": {"api-server"},
    "AIRFLOW_API_SECRET_KEY": RUN_TASKS | {"api-server", "triggerer"},
    "AIRFLOW_JWT_SECRET": {"api-server", "scheduler"},
    "AIRFLOW_FERNET_KEY": {"api-server", "dag-processor", "triggerer"},
    "FUNNELHOUSE_SLACK_TOKEN": SEND_ALERTS,
    "FUNNELHOUSE_SLACK_SIGNING_SECRET": SEND_ALERTS,
    "FUNNELHOUSE_SMTP_PASSWORD": SEND_ALERTS,
    "FUNNELHOUSE_ALERT_WEBHOOK_URL": SEND_ALERTS,  # many services put a key into it
    "FUNNELHOUSE_ALERT_WEBHOOK_SECRET": SEND_ALERTS,
    "AWS_ACCESS_KEY_ID": RUN_TASKS,
    "AWS_SECRET_ACCESS_KEY": RUN_TASKS,
    "AWS_SESSION_TOKEN": RUN_TASKS,
    "GOOGLE_CREDENTIALS_FILE": RUN_TASKS,
}
# `:-` default if empty, `:?` error if empty, `:+` other text if not empty
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?::(?P<operator>[-?+])(?P<text>[^}]*))?\})")


def resolve(node: Any, variables: Mapping[str, str]) -> Any:
    """Put the variables into a parsed compose file as Compose does; ValueError(text) for a missing `${NAME:?text}`."""
    if isinstance(node, dict):
        resolved = {key: resolve(value, variables) for key, value in node.items()}
        if isinstance(environment := resolved.get("environment"), dict):
            # a name without a value is passed on only if it is set
            passed = {name: variables.get(name) if value is None else value for name, value in environment.items()}
            resolved["environment"] = {name: str(value) for name, value in passed.items() if value is not None}
        return resolved
    if isinstance(node, list):
        return [resolve(value, variables) for value in node]
    if not isinstance(node, str):
        return node

    def replace(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        value = variables.get(match["name"], "")
        if match["operator"] == "?" and not value:
            raise ValueError(match["text"])
        if match["operator"] == "+":
            return match["text"] if value else ""
        return value or (match["text"] if match["operator"] == "-" else "")

    return _VARIABLE.sub(replace, node)


def read_services(variables: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The services with every variable resolved."""
    return resolve(yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))["services"], variables)


def read_env(path: Path) -> dict[str, str]:
    """The variables that a .env file sets."""
    return {name: value or "" for name, value in dotenv_values(path, interpolate=False).items()}


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    """A .env as .env.example says to make it: copied, its secrets filled in by the commands in its own comments."""
    text = ENV_EXAMPLE.read_text(encoding="utf-8")
    (tmp_path / ".env").write_text(text, encoding="utf-8")
    commands = "\n".join(re.findall(r"^#   (.+)$", text, flags=re.MULTILINE))
    subprocess.run(["bash", "-euc", commands], cwd=tmp_path, check=True)
    return tmp_path / ".env"


@pytest.fixture
def services(env_file: Path) -> dict[str, dict[str, Any]]:
    return read_services(read_env(env_file))


def documented_names() -> set[str]:
    return set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", ENV_EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE))


def airflow_services(services: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: service for name, service in services.items() if service["image"] == AIRFLOW_IMAGE}


def test_the_file_fits_the_compose_schema() -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE_FILE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_every_missing_secret_stops_the_start_and_is_named(env_file: Path) -> None:
    complete = read_env(env_file)
    for secret in SECRETS:
        with pytest.raises(ValueError, match=rf"^set {secret} in \.env$"):
            read_services({**complete, secret: ""})
    with pytest.raises(ValueError, match=r"in \.env$"):
        read_services(read_env(ENV_EXAMPLE))


def test_generated_secrets_are_long_distinct_and_usable(env_file: Path) -> None:
    from cryptography.fernet import Fernet

    values = {name: read_env(env_file)[name] for name in SECRETS}
    Fernet(values.pop("AIRFLOW_FERNET_KEY"))
    assert len(set(values.values())) == len(SECRETS) - 1
    assert all(re.fullmatch(r"[\w-]{64}", value) for value in values.values())


def test_the_file_holds_no_secret_of_its_own() -> None:
    # every value whose name says that it is a secret comes from a variable without a default
    suspicious = re.compile(r"(PASSWORD|SECRET|TOKEN|FERNET|REDISCLI_AUTH|CONN|BROKER|BACKEND|ACCESS_KEY)")
    harmless = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"}
    checked = set()
    for service in yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))["services"].values():
        for name, value in service.get("environment", {}).items():
            if suspicious.search(name) and name not in harmless:
                checked.add(name)
                assert value is None or re.search(r"\$\{[A-Z_]+(:\?[^}]*)?\}", value), name
    assert {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__CELERY__BROKER_URL", "REDISCLI_AUTH"} <= checked


def test_every_variable_is_documented_and_every_documented_one_is_used() -> None:
    text = COMPOSE_FILE.read_text(encoding="utf-8")
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", text)) | set(re.findall(r"^  ([A-Z][A-Z0-9_]+):$", text, re.MULTILINE))
    assert used <= documented_names()
    made_for_laptops = {"FUNNELHOUSE_HOME", "FUNNELHOUSE_ALERT_RULES", "FUNNELHOUSE_GA4_CONFIG"}
    assert documented_names() - used == made_for_laptops | {"COMPOSE_PROFILES"}


def test_every_setting_is_documented_and_reaches_the_containers(services: dict[str, dict[str, Any]]) -> None:
    settings = {f"FUNNELHOUSE_{name.upper()}" for name in Settings.model_fields}
    assert {name for name in documented_names() if name.startswith("FUNNELHOUSE_")} == settings
    given = read_services(dict.fromkeys(documented_names(), "x"))["scheduler"]["environment"]
    assert {name for name in given if name.startswith("FUNNELHOUSE_")} == settings - {
        "FUNNELHOUSE_ALERT_RULES",
        "FUNNELHOUSE_GA4_CONFIG",
    }
    # what .env leaves out is absent, not empty: an empty number would be an error
    absent = services["scheduler"]["environment"]
    assert {name for name in absent if name.startswith("FUNNELHOUSE_")} == {
        "FUNNELHOUSE_HOME",
        "FUNNELHOUSE_SOURCE",
        "FUNNELHOUSE_DUCKDB_MEMORY_LIMIT",
    }


def test_copying_the_example_changes_no_setting(env_file: Path) -> None:
    untouched = Settings(_env_file=None)
    assert Settings(_env_file=ENV_EXAMPLE) == untouched
    assert Settings(_env_file=env_file) == untouched


def test_the_values_shown_as_defaults_are_the_defaults(tmp_path: Path) -> None:
    # an example, or a value that depends on the machine
    shown = re.sub(r"^#(?=FUNNELHOUSE_)", "", ENV_EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    examples = ("SOURCE", "HOME", "DUCKDB_MEMORY_LIMIT", "ALERT_RULES", "GA4_CONFIG")
    shown = re.sub(rf"^FUNNELHOUSE_({'|'.join(examples)})=.*$", "", shown, flags=re.MULTILINE)
    (tmp_path / ".env").write_text(shown, encoding="utf-8")
    assert Settings(_env_file=tmp_path / ".env") == Settings(_env_file=None)


def test_a_secret_reaches_only_the_services_that_use_it() -> None:
    markers = {name: f"value-of-{name}" for name in documented_names()}
    holders: dict[str, set[str]] = {name: set() for name in markers}
    for service, content in read_services(markers).items():
        for name in markers:
            if re.search(rf"\b{markers[name]}\b(?!_)", str(content)):
                holders[name].add(service)
    assert {name: holders[name] for name in MAY_HOLD} == MAY_HOLD
    secret_settings = {f"FUNNELHOUSE_{name.upper()}" for name in Settings.model_fields if Settings.is_secret(name)}
    assert secret_settings | SECRETS <= set(MAY_HOLD), "a new secret: say which services may hold it"


def test_airflow_programs_agree_on_all_that_is_no_secret(services: dict[str, dict[str, Any]]) -> None:
    airflow = airflow_services(services)
    assert set(airflow) == AIRFLOW_PROGRAMS | {"answers"}
    for name in AIRFLOW_PROGRAMS:
        given = services[name]["environment"]
        for block in ("x-airflow-environment", "x-database"):
            # by the names in the file: the values have been filled in
            names = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))[block]
            assert {key: given[key] for key in names} == {
                key: services["scheduler"]["environment"][key] for key in names
            }
        assert "airflow_logs:/opt/airflow/logs" in services[name]["volumes"], name
    assert services["worker"]["volumes"] == services["scheduler"]["volumes"]


def test_no_container_runs_as_root_or_may_become_it(services: dict[str, dict[str, Any]]) -> None:
    dockerfile = (PROJECT_DIR / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^USER (.+)$", dockerfile, flags=re.MULTILINE) == ["funnelhouse"]
    assert dockerfile.rstrip().endswith("USER funnelhouse")
    for name, service in airflow_services(services).items():
        assert "user" not in service, name
        assert service["cap_drop"] == ["ALL"], name
    for name, service in services.items():
        assert "no-new-privileges:true" in service["security_opt"], name


def test_every_service_has_a_memory_limit_of_its_own_variable(env_file: Path) -> None:
    sizes = {"512m", "256m", "1g", "6g"}
    limits = {name: service.get("mem_limit") for name, service in read_services(read_env(env_file)).items()}
    assert set(limits.values()) == sizes, limits
    variables = [name for name in documented_names() if name.endswith("_MEMORY_LIMIT") and "DUCKDB" not in name]
    changed = read_services({**read_env(env_file), **dict.fromkeys(variables, "7g")})
    assert {service["mem_limit"] for service in changed.values()} == {"7g"}


def test_a_build_leaves_memory_to_the_rest_of_its_container(services: dict[str, dict[str, Any]]) -> None:
    for name in RUN_TASKS:
        build = services[name]["environment"]["FUNNELHOUSE_DUCKDB_MEMORY_LIMIT"].removesuffix("GB")
        assert 2 * float(build) <= float(services[name]["mem_limit"].removesuffix("g")), name


def test_who_takes_answers_from_outside_cannot_reach_the_database(services: dict[str, dict[str, Any]]) -> None:
    networks = {name: service.get("networks", ["default"]) for name, service in services.items()}
    assert networks.pop("answers") == ["outside"]
    assert set(map(tuple, networks.values())) == {("default",)}
    assert not {"depends_on", "links", "network_mode"} & set(services["answers"])


def test_the_answers_are_taken_where_the_compose_file_says(services: dict[str, dict[str, Any]]) -> None:
    from alerts.__main__ import _make_parser

    service = services["answers"]
    assert service["command"][:3] == ["python", "-m", "alerts"]
    options = _make_parser().parse_args(service["command"][3:])
    assert (options.command, options.host, options.port) == ("serve", "0.0.0.0", 8090)  # noqa: S104
    assert service["ports"] == ["127.0.0.1:8090:8090"]
    assert service["profiles"] == ["buttons"], "without a signing secret it would not start"


def test_the_proxy_in_the_documentation_passes_on_one_path_only() -> None:
    from alerts.buttons import PATH

    page = (PROJECT_DIR / "docs" / "deployment.md").read_text(encoding="utf-8")
    (proxy,) = re.findall(r"```nginx\n(.*?)```", page, flags=re.DOTALL)
    assert re.findall(r"location (.+) \{", proxy) == [f"= {PATH}", "/"]
    assert "client_max_body_size" in proxy and proxy.count("proxy_pass http://127.0.0.1:8090;") == 1


def test_every_lasting_service_has_a_health_check_and_restarts(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        if name == "init":
            assert service["restart"] == "no"
            continue
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}, name
        assert {"interval", "timeout", "retries"} <= set(service["healthcheck"]), name


@pytest.mark.parametrize("part", ["scheduler", "dag-processor", "triggerer"])
def test_the_health_check_fails_for_a_part_that_is_not_healthy(
    part: str, services: dict[str, dict[str, Any]], httpserver: Any
) -> None:
    marker, *command = services[part]["healthcheck"]["test"]
    assert (marker, command[:2]) == ("CMD", ["python", "-c"])
    address = httpserver.url_for("").removeprefix("http://").rstrip("/")
    command = [sys.executable, "-c", command[2].replace("api-server:8080", address), command[3]]
    for status, exit_code in (("healthy", 0), ("unhealthy", 1), (None, 1)):
        health = {name: {"status": "healthy"} for name in ("metadatabase", "scheduler", "triggerer", "dag_processor")}
        health[part.replace("-", "_")] = {"status": status}
        httpserver.clear()
        httpserver.expect_request("/api/v2/monitor/health").respond_with_json(health)
        assert subprocess.run(command, check=False).returncode == exit_code, status


def test_only_the_page_and_the_answers_are_published_and_only_on_loopback(services: dict[str, dict[str, Any]]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"api-server": ["127.0.0.1:8080:8080"], "answers": ["127.0.0.1:8090:8090"]}


def test_images_are_pinned(services: dict[str, dict[str, Any]]) -> None:
    dockerfile = (PROJECT_DIR / "Dockerfile").read_text(encoding="utf-8")
    images = {service["image"] for service in services.values()} - {AIRFLOW_IMAGE}
    assert re.findall(r"^FROM (\S+)", dockerfile, flags=re.MULTILINE) == ["${BASE_IMAGE}"]
    base = set(re.findall(r"^ARG BASE_IMAGE=(\S+)", dockerfile, flags=re.MULTILINE))
    assert base == {service["build"]["args"]["BASE_IMAGE"] for service in airflow_services(services).values()}
    images |= base
    assert len(images) == 3
    for image in images:
        assert re.search(r":\d+\.\d+(\.\d+)?(-\w+)*$", image), image


def test_every_image_can_be_pinned_by_digest_in_the_env_file(env_file: Path) -> None:
    pinned = {name: f"{name.lower()}@sha256:{'0' * 64}" for name in ("PYTHON_IMAGE", "POSTGRES_IMAGE", "REDIS_IMAGE")}
    services = read_services({**read_env(env_file), **pinned})
    used = {service["image"] for service in services.values()} - {AIRFLOW_IMAGE}
    used |= {service["build"]["args"]["BASE_IMAGE"] for service in airflow_services(services).values()}
    assert used == set(pinned.values())


def test_tasks_start_when_there_is_something_to_report_to(services: dict[str, dict[str, Any]]) -> None:
    for name in RUN_TASKS:
        assert services[name]["depends_on"]["api-server"] == {"condition": "service_healthy"}, name
        assert services[name]["depends_on"]["init"] == {"condition": "service_completed_successfully"}, name


def test_without_the_celery_profile_nothing_needs_redis(services: dict[str, dict[str, Any]]) -> None:
    profiles = {name: service["profiles"] for name, service in services.items() if "profiles" in service}
    assert {name for name, names in profiles.items() if names == ["celery"]} == {"redis", "worker"}
    for name, service in services.items():
        if "profiles" not in service:
            assert not {"redis", "worker"} & set(service.get("depends_on", {})), name
    assert services["scheduler"]["environment"]["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"


def test_database_urls_name_the_driver_that_is_installed(services: dict[str, dict[str, Any]]) -> None:
    # SQLAlchemy 2.1 takes psycopg 3 for a plain postgresql://, which is not installed
    environment = services["scheduler"]["environment"]
    assert environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].startswith("postgresql+psycopg2://airflow:")
    assert environment["AIRFLOW__CELERY__RESULT_BACKEND"].startswith("db+postgresql+psycopg2://airflow:")


def test_state_lies_in_named_volumes_and_the_export_is_read_only(services: dict[str, dict[str, Any]]) -> None:
    declared = set(yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))["volumes"])
    assert declared == {"postgres_data", "funnelhouse_home", "airflow_logs"}
    mounts = services["scheduler"]["volumes"]
    environment = services["scheduler"]["environment"]
    assert f"funnelhouse_home:{environment['FUNNELHOUSE_HOME']}" in mounts
    assert f"airflow_logs:{environment['AIRFLOW__LOGGING__BASE_LOG_FOLDER']}" in mounts
    assert f"./data/export:{environment['FUNNELHOUSE_SOURCE']}:ro" in mounts


def test_init_makes_the_pool_that_the_dags_wait_for(services: dict[str, dict[str, Any]]) -> None:
    pool = re.search(r'WAREHOUSE_POOL = "(\w+)"', (PROJECT_DIR / "dags" / "common.py").read_text(encoding="utf-8"))
    assert pool is not None
    assert f"airflow pools set {pool[1]} 1 " in services["init"]["command"][2]


def test_every_room_gets_into_the_image() -> None:
    kept = set(re.findall(r"^!(.+)$", (PROJECT_DIR / ".dockerignore").read_text(encoding="utf-8"), flags=re.MULTILINE))
    rooms = {path.parent.name for path in PROJECT_DIR.glob("*/__init__.py")} - {"benchmarks"}
    assert kept == rooms | {"dbt_project", "ga4.yml", *(f"requirements{part}.txt" for part in ("", "-server", "-uv"))}


def test_the_server_packages_are_those_that_were_tested() -> None:
    def versions(name: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for line in (PROJECT_DIR / name).read_text(encoding="utf-8").splitlines():
            if match := re.match(r"([\w.-]+)==(\S+)", line):
                found.setdefault(match[1], set()).add(match[2])
        return found

    server, project = versions("requirements-server.txt"), versions("requirements.txt")
    assert {"psycopg2-binary", "asyncpg", "apache-airflow-providers-celery", "redis"} <= set(server)
    assert {name: server[name] for name in server if name in project} == {
        name: project[name] for name in server if name in project
    }
