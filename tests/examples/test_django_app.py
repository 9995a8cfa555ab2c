from __future__ import annotations

from pathlib import Path

from tests.support.wsgi_examples import check_example


def test_hosts_of_services_are_routed_and_all_else_is_its_own(tmp_path: Path) -> None:
    check_example("django_app:application", tmp_path)
