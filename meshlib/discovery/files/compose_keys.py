"""Keys of Compose files: of the file, and of a service in it.

Source: the Compose specification (compose-spec.json), and what stack files and files of versions 2
and 3 had besides.
"""

from __future__ import annotations

from typing import Final

__all__ = ["COMPOSE_KEYS", "DEPLOY_KEYS", "FILE_KEYS", "OWN_KEYS", "is_composed"]

FILE_KEYS: Final = (
    "services",
    "version",
    "name",
    "include",
    "networks",
    "volumes",
    "secrets",
    "configs",
    "models",
)
# Of a service in a file of our own form; the first is one of Compose too.
OWN_KEYS: Final = ("labels", "endpoints", "proxy_protocol", "protocol", "lenient", "strategy")

COMPOSE_KEYS: Final = (
    "annotations",
    "attach",
    "blkio_config",
    "build",
    "cap_add",
    "cap_drop",
    "cgroup",
    "cgroup_parent",
    "command",
    "configs",
    "container_name",
    "cpu_count",
    "cpu_percent",
    "cpu_period",
    "cpu_quota",
    "cpu_rt_period",
    "cpu_rt_runtime",
    "cpu_shares",
    "cpus",
    "cpuset",
    "credential_spec",
    "depends_on",
    "deploy",
    "develop",
    "device_cgroup_rules",
    "devices",
    "dns",
    "dns_opt",
    "dns_search",
    "dockerfile",
    "domainname",
    "entrypoint",
    "env_file",
    "environment",
    "expose",
    "extends",
    "external_links",
    "extra_hosts",
    "gpus",
    "group_add",
    "healthcheck",
    "hostname",
    "image",
    "init",
    "ipc",
    "isolation",
    "label_file",
    "labels",
    "links",
    "log_driver",
    "log_opt",
    "logging",
    "mac_address",
    "mem_limit",
    "mem_reservation",
    "mem_swappiness",
    "memswap_limit",
    "models",
    "net",
    "network_mode",
    "networks",
    "oom_kill_disable",
    "oom_score_adj",
    "pid",
    "pids_limit",
    "platform",
    "ports",
    "post_start",
    "pre_stop",
    "privileged",
    "profiles",
    "provider",
    "pull_policy",
    "pull_refresh_after",
    "read_only",
    "restart",
    "runtime",
    "scale",
    "secrets",
    "security_opt",
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "storage_opt",
    "sysctls",
    "tmpfs",
    "tty",
    "ulimits",
    "use_api_socket",
    "user",
    "userns_mode",
    "uts",
    "volume_driver",
    "volumes",
    "volumes_from",
    "working_dir",
)
DEPLOY_KEYS: Final = (
    "labels",
    "mode",
    "endpoint_mode",
    "replicas",
    "placement",
    "resources",
    "restart_policy",
    "rollback_config",
    "update_config",
)
_ONLY_COMPOSE: Final = frozenset(COMPOSE_KEYS) - {"labels"}


def is_composed(entry: object) -> bool:
    """Whether the `entry` of a service is one of Compose and not of our own form."""
    return isinstance(entry, dict) and any(
        isinstance(key, str) and key in _ONLY_COMPOSE for key in entry
    )
